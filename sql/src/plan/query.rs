//! SELECT, VALUES, set operations: from syntax to nodes.

use super::analyzer::{Analyzer, Cte, Level, fold};
use super::from::{FromItem, plain_item};
use super::node::{
    AggregatePlan, DistinctPlan, FilterPlan, LimitPlan, LockPlan, LockTarget, Node, ProjectPlan, ProjectSetPlan, RowWait,
    SetKind, SetOperationPlan, Slots, SortKey, SortPlan, ValuesPlan,
};
use super::predicate;
use crate::error::{Result, SqlError, sqlstate};
use crate::expr::{self, CastContext, Expr, Step};
use datum::{Type, TypeId};
use sqlparser::ast;
use std::sync::Arc;
use storage::LockMode;

/// One column of a query's result.
#[derive(Clone, Debug)]
pub(crate) struct OutputColumn {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) origin: Option<(u32, i16)>,
}

/// An analysed query: rows, and what their columns are.
#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) node: Node,
    pub(crate) columns: Vec<OutputColumn>,
}

impl Select {
    pub(crate) fn types(&self) -> Vec<Type> {
        self.columns.iter().map(|column| column.ty).collect()
    }

    /// Changes the output expressions: in place where the query ends in a projection, else in one more.
    pub(crate) fn map_outputs(
        &mut self,
        mut change: impl FnMut(usize, Expr) -> Result<Expr>,
    ) -> Result<()> {
        if let Node::Project(plan) = &mut self.node
            && let Some(plan) = Arc::get_mut(plan)
            && plan.exprs.len() == self.columns.len()
        {
            for (at, expr) in plan.exprs.iter_mut().enumerate() {
                let before = std::mem::replace(expr, super::node::null(Type::of(TypeId::Unknown)));
                *expr = change(at, before)?;
            }
            for (column, expr) in self.columns.iter_mut().zip(&plan.exprs) {
                column.ty = expr.ty();
            }
            return Ok(());
        }
        let mut exprs = Vec::with_capacity(self.columns.len());
        let mut same = true;
        for (index, column) in self.columns.iter().enumerate() {
            let plain = Expr::Column { index, ty: column.ty };
            let changed = change(index, plain.clone())?;
            same &= changed == plain;
            exprs.push(changed);
        }
        if same {
            return Ok(());
        }
        for (column, expr) in self.columns.iter_mut().zip(&exprs) {
            column.ty = expr.ty();
        }
        let input = std::mem::replace(&mut self.node, Node::Unit);
        self.node = Node::Project(Arc::new(ProjectPlan { input, exprs, slots: Slots::default() }));
        Ok(())
    }

    /// Outputs of unknown type (literals, parameters) become text.
    pub(crate) fn settle_unknowns(&mut self, analyzer: &mut Analyzer<'_>) -> Result<()> {
        if self.columns.iter().all(|column| column.ty.id != TypeId::Unknown) {
            return Ok(());
        }
        self.map_outputs(|_, expr| {
            if expr.ty().id == TypeId::Unknown {
                expr::coerce(expr, Type::of(TypeId::Text), CastContext::Implicit, analyzer)
            } else {
                Ok(expr)
            }
        })
    }
}

/// ORDER BY, LIMIT, OFFSET and FOR UPDATE around a query's body.
struct Tail<'q> {
    order_by: &'q [ast::OrderByExpr],
    limit: Option<&'q ast::Expr>,
    offset: Option<&'q ast::Expr>,
    locks: &'q [ast::LockClause],
}

/// A select list entry.
struct Target {
    expr: Expr,
    name: String,
    origin: Option<(u32, i16)>,
}

fn tail(query: &ast::Query) -> Result<Tail<'_>> {
    let order_by: &[ast::OrderByExpr] = match query.order_by.as_ref().map(|order| &order.kind) {
        None => &[],
        Some(ast::OrderByKind::Expressions(list)) => list,
        Some(ast::OrderByKind::All(_)) => return Err(SqlError::unsupported("ORDER BY ALL")),
    };
    let (mut limit, offset) = match &query.limit_clause {
        None => (None, None),
        Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
            (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
        }
        Some(_) => return Err(SqlError::syntax("LIMIT #,# syntax is not supported").with_hint("Use separate LIMIT and OFFSET clauses.")),
    };
    if let Some(fetch) = &query.fetch {
        if fetch.with_ties || fetch.percent {
            return Err(SqlError::unsupported("FETCH ... WITH TIES"));
        }
        limit = fetch.quantity.as_ref().or(limit);
    }
    if query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some() || !query.pipe_operators.is_empty() {
        return Err(SqlError::unsupported("this clause of a query"));
    }
    Ok(Tail { order_by, limit, offset, locks: &query.locks })
}

impl Analyzer<'_> {
    /// A query at the top of a statement.
    pub(crate) fn query(&mut self, query: &ast::Query) -> Result<Select> {
        self.sibling(|analyzer| analyzer.query_in_level(query))
    }

    /// A query whose names stand in the level that was just pushed.
    pub(crate) fn query_in_level(&mut self, query: &ast::Query) -> Result<Select> {
        let known = self.ctes.len();
        if let Some(with) = &query.with {
            self.add_ctes(with)?;
        }
        let result = tail(query).and_then(|tail| self.body(&query.body, &tail));
        self.ctes.truncate(known);
        result
    }

    /// The queries of a WITH clause; each later one sees those before it.
    fn add_ctes(&mut self, with: &ast::With) -> Result<()> {
        let first = self.ctes.len();
        for cte in &with.cte_tables {
            let name = fold(&cte.alias.name);
            if self.ctes.iter().skip(first).any(|known| known.name == name) {
                return Err(SqlError::new(
                    sqlstate::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                ));
            }
            if matches!(*cte.query.body, ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_)) {
                return Err(SqlError::unsupported("a WITH query that changes data"));
            }
            if with.recursive && names_table(&cte.query, &name) {
                return Err(SqlError::unsupported("WITH RECURSIVE"));
            }
            let columns = cte.alias.columns.iter().map(|column| fold(&column.name)).collect();
            let sees = self.ctes.len();
            self.ctes.push(Cte { name, columns, query: Arc::new((*cte.query).clone()), sees });
        }
        Ok(())
    }

    fn body(&mut self, body: &ast::SetExpr, tail: &Tail<'_>) -> Result<Select> {
        match body {
            ast::SetExpr::Select(select) => self.select(select, tail),
            ast::SetExpr::Query(inner) => {
                let select = self.sibling(|analyzer| analyzer.query_in_level(inner))?;
                self.finish(select, tail)
            }
            ast::SetExpr::Values(values) => {
                let select = self.values(values)?;
                self.finish(select, tail)
            }
            ast::SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let select = self.set_operation(left, *op, *set_quantifier, right)?;
                self.finish(select, tail)
            }
            ast::SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default();
                let mut parts: Vec<ast::Ident> = table.schema_name.iter().map(|name| ast::Ident::new(name.clone())).collect();
                parts.push(ast::Ident::new(name));
                let factor = ast::TableFactor::Table {
                    name: ast::ObjectName::from(parts),
                    alias: None,
                    args: None,
                    with_hints: Vec::new(),
                    version: None,
                    with_ordinality: false,
                    partitions: Vec::new(),
                    json_path: None,
                    sample: None,
                    index_hints: Vec::new(),
                };
                let from = [ast::TableWithJoins { relation: factor, joins: Vec::new() }];
                let item = self.from_clause(FromItem::unit(), &from, false)?;
                let input = self.show(item);
                let (mut exprs, mut columns) = (Vec::new(), Vec::new());
                for target in self.star(None)? {
                    columns.push(OutputColumn { name: target.name, ty: target.expr.ty(), origin: target.origin });
                    exprs.push(target.expr);
                }
                let node = Node::Project(Arc::new(ProjectPlan { input, exprs, slots: Slots::default() }));
                self.finish(Select { node, columns }, tail)
            }
            ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_) | ast::SetExpr::Merge(_) => {
                Err(SqlError::unsupported("a query that changes data in this place"))
            }
        }
    }

    /// Makes a FROM clause's columns the level's.
    pub(crate) fn show(&mut self, item: FromItem) -> Node {
        let level = self.level();
        level.columns = item.columns;
        level.tables = item.tables;
        level.width = item.width;
        item.node
    }

    fn values(&mut self, values: &ast::Values) -> Result<Select> {
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut rows = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            if row.content.len() != width {
                return Err(SqlError::syntax("VALUES lists must all be the same length"));
            }
            let compiled: Result<Vec<Expr>> =
                row.content.iter().map(|value| self.compile_in("VALUES", value)).collect();
            rows.push(compiled?);
        }
        let mut columns = Vec::with_capacity(width);
        for at in 0..width {
            let mut column: Vec<&mut Expr> = rows.iter_mut().filter_map(|row| row.get_mut(at)).collect();
            let ty = if rows_are_unknown(&column) {
                Type::of(TypeId::Unknown)
            } else {
                expr::common_type(&mut column, "VALUES", self)?
            };
            columns.push(OutputColumn { name: format!("column{}", at + 1), ty, origin: None });
        }
        let slots = self.take_slots();
        Ok(Select { node: Node::Values(Arc::new(ValuesPlan { rows, slots })), columns })
    }

    fn set_operation(
        &mut self,
        left: &ast::SetExpr,
        op: ast::SetOperator,
        quantifier: ast::SetQuantifier,
        right: &ast::SetExpr,
    ) -> Result<Select> {
        let nothing = Tail { order_by: &[], limit: None, offset: None, locks: &[] };
        let mut left = self.sibling(|analyzer| analyzer.body(left, &nothing))?;
        let mut right = self.sibling(|analyzer| analyzer.body(right, &nothing))?;
        let (kind, word) = match op {
            ast::SetOperator::Union => (SetKind::Union, "UNION"),
            ast::SetOperator::Intersect => (SetKind::Intersect, "INTERSECT"),
            ast::SetOperator::Except | ast::SetOperator::Minus => (SetKind::Except, "EXCEPT"),
        };
        let all = match quantifier {
            ast::SetQuantifier::All => true,
            ast::SetQuantifier::Distinct | ast::SetQuantifier::None => false,
            _ => return Err(SqlError::unsupported(format!("{word} BY NAME"))),
        };
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::syntax(format!("each {word} query must have the same number of columns")));
        }
        // The common type of each pair of columns, found on stand-ins and then asked of both sides.
        let mut types = Vec::with_capacity(left.columns.len());
        for (a, b) in left.columns.iter().zip(&right.columns) {
            let mut one = Expr::Column { index: 0, ty: a.ty };
            let mut two = Expr::Column { index: 1, ty: b.ty };
            types.push(match (a.ty.id, b.ty.id) {
                (TypeId::Unknown, TypeId::Unknown) => Type::of(TypeId::Text),
                (TypeId::Unknown, _) => b.ty,
                (_, TypeId::Unknown) => a.ty,
                _ => expr::common_type(&mut [&mut one, &mut two], word, self)?,
            });
        }
        for side in [&mut left, &mut right] {
            side.map_outputs(|at, expr| {
                let ty = types.get(at).copied().unwrap_or(expr.ty());
                if expr.ty() == ty { Ok(expr) } else { expr::coerce(expr, ty, CastContext::Implicit, self) }
            })?;
        }
        let columns = left
            .columns
            .into_iter()
            .zip(types)
            .map(|(column, ty)| OutputColumn { ty, origin: None, ..column })
            .collect();
        let plan = SetOperationPlan { kind, all, left: left.node, right: right.node };
        Ok(Select { node: Node::SetOperation(Arc::new(plan)), columns })
    }

    /// ORDER BY and LIMIT over a body whose output columns are all that can be named.
    fn finish(&mut self, select: Select, tail: &Tail<'_>) -> Result<Select> {
        if !tail.locks.is_empty() {
            return Err(SqlError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "FOR UPDATE is not allowed with UNION/INTERSECT/EXCEPT",
            ));
        }
        let Select { mut node, columns } = select;
        if !tail.order_by.is_empty() {
            let shown = columns.iter().map(|column| (column.name.clone(), column.ty)).collect();
            let item = plain_item(Node::Unit, "", None, None, shown);
            self.show(item);
            let mut keys = Vec::with_capacity(tail.order_by.len());
            for order in tail.order_by {
                let (descending, nulls_first) = direction(order)?;
                let expr = match ordinal(&order.expr, columns.len(), "ORDER BY")? {
                    Some(index) => Expr::Column { index, ty: columns.get(index).map_or(Type::of(TypeId::Text), |c| c.ty) },
                    None => self.compile_in("ORDER BY", &order.expr)?,
                };
                if !matches!(expr, Expr::Column { .. }) {
                    return Err(SqlError::new(
                        sqlstate::FEATURE_NOT_SUPPORTED,
                        "invalid UNION/INTERSECT/EXCEPT ORDER BY clause",
                    )
                    .with_detail("Only result column names can be used, not expressions or functions."));
                }
                keys.push(SortKey { expr, descending, nulls_first });
            }
            node = Node::Sort(Arc::new(SortPlan { input: node, keys, limit: None }));
        }
        node = self.limit(node, tail)?;
        Ok(Select { node, columns })
    }

    /// Puts LIMIT and OFFSET on top; a sort right below learns how many rows are wanted.
    fn limit(&mut self, mut node: Node, tail: &Tail<'_>) -> Result<Node> {
        if tail.limit.is_none() && tail.offset.is_none() {
            return Ok(node);
        }
        self.push_level();
        let limit = tail.limit.map(|limit| self.row_count("LIMIT", limit)).transpose();
        let offset = tail.offset.map(|offset| self.row_count("OFFSET", offset)).transpose();
        let slots = self.take_slots();
        let (_, correlated) = self.pop_level();
        let (limit, offset) = (limit?.flatten(), offset?.flatten());
        if correlated {
            return Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                "argument of LIMIT must not contain variables",
            ));
        }
        if slots.is_empty()
            && let Node::Sort(sort) = &mut node
            && let Some(sort) = Arc::get_mut(sort)
            && limit.is_some()
        {
            sort.limit = Some((limit.clone(), offset.clone()));
        }
        Ok(Node::Limit(Arc::new(LimitPlan { input: node, limit, offset, slots })))
    }

    /// LIMIT ALL and LIMIT NULL are none.
    fn row_count(&mut self, place: &'static str, ast: &ast::Expr) -> Result<Option<Expr>> {
        if matches!(ast, ast::Expr::Identifier(word) if word.value.eq_ignore_ascii_case("all")) {
            return Ok(None);
        }
        let count = self.compile_in(place, ast)?;
        expr::coerce(count, Type::of(TypeId::Int8), CastContext::Assignment, self).map(Some)
    }

    /// `*` or `table.*`.
    fn star(&mut self, table: Option<&str>) -> Result<Vec<Target>> {
        let level = self.level();
        let targets: Vec<Target> = level
            .columns
            .iter()
            .filter(|column| !column.internal && table.map_or(!column.hidden, |table| *column.table == *table))
            .map(|column| Target {
                expr: Expr::Column { index: column.index, ty: column.ty },
                name: column.name.clone(),
                origin: column.origin,
            })
            .collect();
        match table {
            Some(table) if !level.tables.iter().any(|known| *known.alias == *table) => Err(SqlError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{table}\""),
            )),
            None if level.tables.is_empty() => {
                Err(SqlError::syntax("SELECT * with no tables specified is not valid"))
            }
            _ => Ok(targets),
        }
    }

    /// The entries of a select list or RETURNING, stars spelled out.
    fn targets(&mut self, items: &[ast::SelectItem]) -> Result<Vec<Target>> {
        let mut targets = Vec::with_capacity(items.len());
        for item in items {
            match item {
                ast::SelectItem::UnnamedExpr(ast) => targets.push(self.target(ast, None)?),
                ast::SelectItem::ExprWithAlias { expr, alias } => targets.push(self.target(expr, Some(fold(alias)))?),
                ast::SelectItem::Wildcard(_) => targets.extend(self.star(None)?),
                ast::SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let (_, table, position) = self.table_name(name)?;
                    targets.extend(self.star(Some(&table)).map_err(|error| error.at(position))?);
                }
                _ => return Err(SqlError::unsupported("this entry of a select list")),
            }
        }
        Ok(targets)
    }

    fn target(&mut self, ast: &ast::Expr, alias: Option<String>) -> Result<Target> {
        let expr = self.compile(ast)?;
        let origin = match &expr {
            Expr::Column { index, .. } => {
                let level = self.level();
                level.columns.iter().find(|column| column.index == *index).and_then(|column| column.origin)
            }
            _ => None,
        };
        Ok(Target { expr, name: alias.unwrap_or_else(|| output_name(ast)), origin })
    }

    /// RETURNING: expressions over the level's columns.
    pub(crate) fn returning(
        &mut self,
        items: &[ast::SelectItem],
    ) -> Result<(super::node::Returning, Vec<OutputColumn>)> {
        self.level().no_aggregates_in = Some("RETURNING");
        let targets = self.targets(items)?;
        let slots = self.take_slots();
        let mut exprs = Vec::with_capacity(targets.len());
        let mut columns = Vec::with_capacity(targets.len());
        for target in targets {
            let expr = if target.expr.ty().id == TypeId::Unknown {
                expr::coerce(target.expr, Type::of(TypeId::Text), CastContext::Implicit, self)?
            } else {
                target.expr
            };
            columns.push(OutputColumn { name: target.name, ty: expr.ty(), origin: target.origin });
            exprs.push(expr);
        }
        Ok((super::node::Returning { exprs, slots }, columns))
    }

    /// FROM and WHERE, as one node whose row the level shows; and the whole condition, for later rechecks.
    pub(crate) fn filtered(
        &mut self,
        start: FromItem,
        from: &[ast::TableWithJoins],
        selection: Option<&ast::Expr>,
        emit_keys: bool,
    ) -> Result<(Node, Option<Expr>, Slots)> {
        let item = self.from_clause(start, from, emit_keys)?;
        let mut node = self.show(item);
        let mut whole = None;
        let mut slots = Slots::default();
        if let Some(selection) = selection {
            let condition = self.condition("WHERE", selection)?;
            slots = self.take_slots();
            whole = Some(condition.clone());
            let (mut above, mut below) = (Vec::new(), Vec::new());
            for part in predicate::conjuncts(condition) {
                if predicate::has_slots(&part) { above.push(part) } else { below.push(part) }
            }
            for part in below {
                predicate::push(&mut node, part)?;
            }
            predicate::settle_ranges(&mut node);
            if let Some(condition) = predicate::conjunction(above) {
                node = Node::Filter(Arc::new(FilterPlan { input: node, condition, slots: slots.clone() }));
            }
        }
        Ok((node, whole, slots))
    }

    fn select(&mut self, select: &ast::Select, tail: &Tail<'_>) -> Result<Select> {
        refuse_foreign_clauses(select)?;
        let locking = !tail.locks.is_empty();
        let (mut node, whole, where_slots) = self.filtered(FromItem::unit(), &select.from, select.selection.as_ref(), locking)?;
        let (group_asts, grouped): (&[ast::Expr], bool) = match &select.group_by {
            ast::GroupByExpr::Expressions(list, modifiers) if modifiers.is_empty() => (list, !list.is_empty()),
            _ => return Err(SqlError::unsupported("this form of GROUP BY")),
        };
        self.level().sets_allowed = !grouped;
        let targets = self.targets(&select.projection)?;
        self.level().sets_allowed = false;
        let having = select.having.as_ref().map(|having| {
            let condition = self.compile(having)?;
            self.boolean("HAVING", condition)
        });
        let having = having.transpose()?;
        let mut exprs: Vec<Expr> = targets.iter().map(|target| target.expr.clone()).collect();
        let columns: Vec<OutputColumn> = targets
            .into_iter()
            .map(|target| OutputColumn { name: target.name, ty: target.expr.ty(), origin: target.origin })
            .collect();
        let distinct_on = match &select.distinct {
            Some(ast::Distinct::On(list)) => {
                Some(list.iter().map(|ast| self.named_or_compiled(ast, &columns, &exprs, "DISTINCT ON")).collect::<Result<Vec<_>>>()?)
            }
            _ => None,
        };
        let mut keys = Vec::with_capacity(tail.order_by.len());
        for order in tail.order_by {
            let (descending, nulls_first) = direction(order)?;
            let expr = self.named_or_compiled(&order.expr, &columns, &exprs, "ORDER BY")?;
            keys.push(SortKey { expr, descending, nulls_first });
        }
        let group_by = group_asts
            .iter()
            .map(|ast| self.group_expression(ast, &columns, &exprs))
            .collect::<Result<Vec<Expr>>>()?;
        let slots = self.take_slots();
        let level = self.level();
        let set_calls = std::mem::take(&mut level.set_calls);
        let aggregated = grouped || !level.aggregates.is_empty() || having.is_some();
        if locking {
            if aggregated || select.distinct.is_some() || !set_calls.is_empty() {
                let what = if aggregated { "GROUP BY clause or aggregate functions" } else { "DISTINCT or set-returning functions" };
                return Err(SqlError::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    format!("FOR UPDATE is not allowed with {what}"),
                ));
            }
            return self.locked_select(node, (whole, where_slots), tail, keys, exprs, columns, slots);
        }
        if aggregated {
            if !set_calls.is_empty() {
                return Err(SqlError::unsupported("a set-returning function next to an aggregate"));
            }
            node = self.aggregate_node(node, group_by, having, &mut exprs, &mut keys, distinct_on.as_deref(), &slots, !grouped)?;
        } else if !set_calls.is_empty() {
            if slots.iter().any(|slot| slot.per_row) {
                return Err(SqlError::unsupported("a correlated subquery next to a set-returning function"));
            }
            node = Node::ProjectSet(Arc::new(ProjectSetPlan { input: node, calls: set_calls, slots: Slots::default() }));
        }
        // Rows may come in the wanted order by themselves.
        if !aggregated && select.distinct.is_none() {
            let wanted: Option<Vec<(usize, bool)>> = keys
                .iter()
                .map(|key| match key.expr {
                    Expr::Column { index, .. } if key.nulls_first == key.descending || is_key_column(&node, index) => {
                        Some((index, key.descending))
                    }
                    _ => None,
                })
                .collect();
            if let Some(wanted) = wanted
                && !wanted.is_empty()
                && predicate::order_by_key(&mut node, &wanted)
            {
                keys.clear();
            }
        }
        self.assemble(node, exprs, columns, slots, keys, distinct_on, select.distinct.as_ref(), tail)
    }

    /// Projection, DISTINCT, ORDER BY, LIMIT over a row source.
    fn assemble(
        &mut self,
        node: Node,
        mut exprs: Vec<Expr>,
        columns: Vec<OutputColumn>,
        slots: Slots,
        keys: Vec<SortKey>,
        distinct_on: Option<Vec<Expr>>,
        distinct: Option<&ast::Distinct>,
        tail: &Tail<'_>,
    ) -> Result<Select> {
        let visible = exprs.len();
        let mut place = |expr: Expr| match exprs.iter().position(|known| *known == expr) {
            Some(at) => at,
            None => {
                exprs.push(expr);
                exprs.len() - 1
            }
        };
        let sort: Vec<(usize, SortKey)> = keys.into_iter().map(|key| (place(key.expr.clone()), key)).collect();
        let on: Option<Vec<usize>> = distinct_on.map(|list| list.into_iter().map(&mut place).collect());
        let plain_distinct = matches!(distinct, Some(ast::Distinct::Distinct));
        if plain_distinct && sort.iter().any(|(at, _)| *at >= visible) {
            return Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        let total = exprs.len();
        let types: Vec<Type> = exprs.iter().map(Expr::ty).collect();
        let mut node = Node::Project(Arc::new(ProjectPlan { input: node, exprs, slots }));
        if plain_distinct {
            let plan = DistinctPlan { input: node, columns: (0..visible).collect(), sorted: false };
            node = Node::Distinct(Arc::new(plan));
        }
        let sorted = !sort.is_empty();
        if let (Some(on), true) = (&on, sorted)
            && !sort.iter().take(on.len()).all(|(at, _)| on.contains(at))
        {
            return Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
            ));
        }
        if sorted {
            let keys = sort
                .into_iter()
                .map(|(index, key)| SortKey {
                    expr: Expr::Column { index, ty: types.get(index).copied().unwrap_or(key.expr.ty()) },
                    ..key
                })
                .collect();
            node = Node::Sort(Arc::new(SortPlan { input: node, keys, limit: None }));
        }
        if let Some(columns) = on {
            node = Node::Distinct(Arc::new(DistinctPlan { input: node, columns, sorted }));
        }
        node = self.limit(node, tail)?;
        if total > visible {
            let exprs = types.iter().take(visible).enumerate().map(|(index, ty)| Expr::Column { index, ty: *ty }).collect();
            node = Node::Project(Arc::new(ProjectPlan { input: node, exprs, slots: Slots::default() }));
        }
        Ok(Select { node, columns })
    }

    /// SELECT ... FOR UPDATE: rows are sorted, then locked as they are asked for, then projected.
    fn locked_select(
        &mut self,
        mut node: Node,
        recheck: (Option<Expr>, Slots),
        tail: &Tail<'_>,
        mut keys: Vec<SortKey>,
        exprs: Vec<Expr>,
        columns: Vec<OutputColumn>,
        slots: Slots,
    ) -> Result<Select> {
        self.writes = true;
        if keys.iter().any(|key| predicate::has_slots(&key.expr)) {
            return Err(SqlError::unsupported("a subquery in ORDER BY of a query with FOR UPDATE"));
        }
        let wanted: Option<Vec<(usize, bool)>> = keys
            .iter()
            .map(|key| match key.expr {
                Expr::Column { index, .. } => Some((index, key.descending)),
                _ => None,
            })
            .collect();
        if wanted.is_some_and(|wanted| predicate::order_by_key(&mut node, &wanted)) {
            keys.clear();
        }
        if !keys.is_empty() {
            node = Node::Sort(Arc::new(SortPlan { input: node, keys, limit: None }));
        }
        let mut targets = Vec::new();
        for lock in tail.locks {
            let of = match &lock.of {
                None => None,
                Some(name) => Some(self.table_name(name)?.1),
            };
            let mode = match lock.lock_type {
                ast::LockType::Update => LockMode::Exclusive,
                ast::LockType::Share => LockMode::Shared,
            };
            let wait = match lock.nonblock {
                None => RowWait::Wait,
                Some(ast::NonBlock::Nowait) => RowWait::NoWait,
                Some(ast::NonBlock::SkipLocked) => RowWait::SkipLocked,
            };
            let level = self.level();
            if let Some(of) = &of
                && !level.tables.iter().any(|table| *table.alias == **of)
            {
                return Err(SqlError::new(
                    sqlstate::UNDEFINED_TABLE,
                    format!("relation \"{of}\" in FOR UPDATE clause not found in FROM clause"),
                ));
            }
            for table in &level.tables {
                let (Some(relation), Some(key)) = (&table.relation, table.key) else { continue };
                if of.as_ref().is_some_and(|of| *table.alias != **of) {
                    continue;
                }
                let needed = relation.live_columns().map(|(at, _)| at).collect();
                targets.push(LockTarget { relation: relation.clone(), start: table.start, key, mode, wait, needed });
            }
        }
        node = Node::Lock(Arc::new(LockPlan { input: node, targets, recheck: recheck.0, slots: recheck.1 }));
        node = Node::Project(Arc::new(ProjectPlan { input: node, exprs, slots }));
        node = self.limit(node, tail)?;
        Ok(Select { node, columns })
    }

    /// ORDER BY and DISTINCT ON: an ordinal, an output column's name, or any expression.
    fn named_or_compiled(
        &mut self,
        ast: &ast::Expr,
        columns: &[OutputColumn],
        exprs: &[Expr],
        place: &str,
    ) -> Result<Expr> {
        if let Some(at) = ordinal(ast, columns.len(), place)? {
            return exprs.get(at).cloned().ok_or_else(|| SqlError::internal("an ordinal out of range"));
        }
        if let ast::Expr::Identifier(name) = ast {
            let wanted = fold(name);
            let mut found: Option<&Expr> = None;
            for (column, expr) in columns.iter().zip(exprs).filter(|(column, _)| column.name == wanted) {
                if found.is_some_and(|before| before != expr) {
                    let message = format!("{place} \"{}\" is ambiguous", column.name);
                    return Err(SqlError::new(sqlstate::AMBIGUOUS_COLUMN, message).at(self.at(name)));
                }
                found = Some(expr);
            }
            if let Some(expr) = found {
                return Ok(expr.clone());
            }
        }
        self.compile(ast)
    }

    /// GROUP BY: an ordinal, a column of FROM, an output column's name, or any expression.
    fn group_expression(&mut self, ast: &ast::Expr, columns: &[OutputColumn], exprs: &[Expr]) -> Result<Expr> {
        let found = match ast {
            ast::Expr::Identifier(name) => {
                let wanted = fold(name);
                let level = self.level();
                let in_from = level.columns.iter().any(|column| !column.hidden && column.name == wanted);
                let output = columns.iter().position(|column| column.name == wanted);
                output.filter(|_| !in_from).and_then(|at| exprs.get(at)).cloned()
            }
            _ => ordinal(ast, columns.len(), "GROUP BY")?.and_then(|at| exprs.get(at)).cloned(),
        };
        let expr = match found {
            Some(expr) => expr,
            None => self.compile_in("GROUP BY", ast)?,
        };
        let mut aggregate = false;
        expr.walk(&mut |part| {
            aggregate |= matches!(part, Expr::Aggregate { .. });
            true
        });
        if aggregate {
            return Err(SqlError::new(
                sqlstate::GROUPING_ERROR,
                "aggregate functions are not allowed in GROUP BY",
            ));
        }
        Ok(expr)
    }

    /// Groups rows, and makes all later expressions look at groups instead of rows.
    fn aggregate_node(
        &mut self,
        input: Node,
        mut group_by: Vec<Expr>,
        having: Option<Expr>,
        exprs: &mut Vec<Expr>,
        keys: &mut Vec<SortKey>,
        distinct_on: Option<&[Expr]>,
        slots: &Slots,
        plain: bool,
    ) -> Result<Node> {
        if slots.iter().any(|slot| slot.per_row) || group_by.iter().any(predicate::has_slots) {
            return Err(SqlError::unsupported("a correlated subquery in a query with grouping"));
        }
        if distinct_on.is_some() {
            return Err(SqlError::unsupported("DISTINCT ON with grouping"));
        }
        let depth = self.levels.len().saturating_sub(1);
        let level = self.levels.get_mut(depth).ok_or_else(|| SqlError::internal("no query level"))?;
        let aggregates = std::mem::take(&mut level.aggregates);
        // Columns that a grouped primary key determines may be named: they join the group without changing it.
        let mut having = having;
        let every = exprs.iter().chain(&having).chain(keys.iter().map(|key| &key.expr));
        let mut more = Vec::new();
        for expr in every {
            collect_ungrouped(expr, &group_by, &mut more);
        }
        for column in more {
            let Expr::Column { index, .. } = &column else { continue };
            if determined(level, *index, &group_by) {
                if !group_by.contains(&column) {
                    group_by.push(column);
                }
            } else {
                let named = level.columns.iter().find(|known| known.index == *index);
                let name = named.map_or_else(|| "?column?".to_owned(), |known| format!("{}.{}", known.table, known.name));
                return Err(SqlError::new(
                    sqlstate::GROUPING_ERROR,
                    format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"),
                ));
            }
        }
        let regroup = |expr: Expr| over_groups(expr, &group_by);
        for expr in exprs.iter_mut().chain(keys.iter_mut().map(|key| &mut key.expr)).chain(having.as_mut()) {
            let before = std::mem::replace(expr, super::node::null(Type::of(TypeId::Unknown)));
            *expr = regroup(before)?;
        }
        let plain = plain && group_by.is_empty();
        let plan = AggregatePlan { input, group_by, aggregates, slots: Slots::default(), plain };
        let node = Node::Aggregate(Arc::new(plan));
        Ok(match having {
            None => node,
            Some(condition) if predicate::has_slots(&condition) => {
                return Err(SqlError::unsupported("a subquery in HAVING"));
            }
            Some(condition) => Node::Filter(Arc::new(FilterPlan { input: node, condition, slots: Slots::default() })),
        })
    }
}

/// Columns outside of aggregates and of grouped expressions.
fn collect_ungrouped(expr: &Expr, group_by: &[Expr], found: &mut Vec<Expr>) {
    expr.walk(&mut |part| {
        if group_by.contains(part) || matches!(part, Expr::Aggregate { .. }) {
            return false;
        }
        if matches!(part, Expr::Column { .. }) && !found.contains(part) {
            found.push(part.clone());
        }
        true
    });
}

/// Whether a column's table has its whole primary key among the grouped expressions.
fn determined(level: &Level, index: usize, group_by: &[Expr]) -> bool {
    level.tables.iter().any(|table| {
        let Some(relation) = &table.relation else { return false };
        let Some(key) = &relation.primary_key else { return false };
        (table.start..table.start + relation.columns.len()).contains(&index)
            && key.columns.iter().all(|column| {
                group_by
                    .iter()
                    .any(|expr| matches!(expr, Expr::Column { index, .. } if *index == table.start + column))
            })
    })
}

/// The expression over a group: its grouped values, then its aggregates.
fn over_groups(expr: Expr, group_by: &[Expr]) -> Result<Expr> {
    expr.transform(&mut |part| {
        if let Some(index) = group_by.iter().position(|grouped| *grouped == part) {
            return Ok(Step::Done(Expr::Column { index, ty: part.ty() }));
        }
        Ok(match part {
            Expr::Aggregate { index, ty } => Step::Done(Expr::Column { index: group_by.len() + index, ty }),
            other => Step::Into(other),
        })
    })
}

/// NULLS FIRST and LAST mean nothing for columns that are never NULL.
fn is_key_column(node: &Node, index: usize) -> bool {
    match node {
        Node::Filter(plan) => is_key_column(&plan.input, index),
        Node::Scan(plan) => plan.relation.primary_key.as_ref().is_some_and(|key| key.columns.contains(&index)),
        _ => false,
    }
}

fn rows_are_unknown(column: &[&mut Expr]) -> bool {
    column.iter().all(|expr| expr.ty().id == TypeId::Unknown)
}

/// DESC and the place of NULLs.
fn direction(order: &ast::OrderByExpr) -> Result<(bool, bool)> {
    let descending = match &order.options.sort {
        None | Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(_) => return Err(SqlError::unsupported("ORDER BY ... USING")),
    };
    Ok((descending, order.options.nulls_first.unwrap_or(descending)))
}

/// A bare integer names an output column, counted from 1.
fn ordinal(ast: &ast::Expr, count: usize, place: &str) -> Result<Option<usize>> {
    let ast::Expr::Value(value) = ast else { return Ok(None) };
    match &value.value {
        ast::Value::Number(text, _) => match text.parse::<usize>() {
            Ok(number) if (1..=count).contains(&number) => Ok(Some(number - 1)),
            Ok(number) => Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                format!("{place} position {number} is not in select list"),
            )),
            Err(_) => Err(SqlError::syntax(format!("non-integer constant in {place}"))),
        },
        ast::Value::Placeholder(_) => Ok(None),
        _ => Err(SqlError::syntax(format!("non-integer constant in {place}"))),
    }
}

/// How PostgreSQL names a column without an alias.
fn output_name(ast: &ast::Expr) -> String {
    const ANONYMOUS: &str = "?column?";
    match ast {
        ast::Expr::Identifier(name) => fold(name),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map_or_else(|| ANONYMOUS.to_owned(), fold),
        ast::Expr::Function(call) => {
            let last = call.name.0.last().and_then(ast::ObjectNamePart::as_ident);
            last.map_or_else(|| ANONYMOUS.to_owned(), fold)
        }
        ast::Expr::Nested(inner) | ast::Expr::Collate { expr: inner, .. } => output_name(inner),
        ast::Expr::Cast { expr, data_type, .. } => match output_name(expr) {
            name if name == ANONYMOUS => expr::data_type(data_type).map_or(name, |ty| ty.id.name().to_owned()),
            name => name,
        },
        ast::Expr::TypedString(typed) => {
            expr::data_type(&typed.data_type).map_or_else(|_| ANONYMOUS.to_owned(), |ty| ty.id.name().to_owned())
        }
        ast::Expr::Case { else_result, .. } => match else_result.as_deref().map(output_name) {
            Some(name) if name != ANONYMOUS => name,
            _ => "case".to_owned(),
        },
        ast::Expr::Exists { .. } => "exists".to_owned(),
        ast::Expr::Subquery(query) => match &*query.body {
            ast::SetExpr::Select(select) => match select.projection.as_slice() {
                [ast::SelectItem::UnnamedExpr(inner)] => output_name(inner),
                [ast::SelectItem::ExprWithAlias { alias, .. }] => fold(alias),
                _ => ANONYMOUS.to_owned(),
            },
            _ => ANONYMOUS.to_owned(),
        },
        ast::Expr::Array(_) => "array".to_owned(),
        ast::Expr::Extract { .. } => "extract".to_owned(),
        ast::Expr::Position { .. } => "position".to_owned(),
        ast::Expr::Substring { .. } => "substring".to_owned(),
        ast::Expr::Trim { .. } => "btrim".to_owned(),
        ast::Expr::Overlay { .. } => "overlay".to_owned(),
        ast::Expr::Ceil { .. } => "ceil".to_owned(),
        ast::Expr::Floor { .. } => "floor".to_owned(),
        ast::Expr::AtTimeZone { .. } => "timezone".to_owned(),
        ast::Expr::Value(value) if matches!(value.value, ast::Value::Boolean(_)) => "bool".to_owned(),
        _ => ANONYMOUS.to_owned(),
    }
}

fn refuse_foreign_clauses(select: &ast::Select) -> Result<()> {
    if select.into.is_some() {
        return Err(SqlError::unsupported("SELECT INTO").with_hint("Use CREATE TABLE AS."));
    }
    if !select.named_window.is_empty() {
        return Err(SqlError::unsupported("WINDOW"));
    }
    let foreign = select.top.is_some()
        || select.exclude.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || select.qualify.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.value_table_mode.is_some();
    if foreign { Err(SqlError::unsupported("this clause of SELECT")) } else { Ok(()) }
}

/// Whether a query's FROM clauses name a table (roughly: at the top of its set operations).
fn names_table(query: &ast::Query, name: &str) -> bool {
    fn in_body(body: &ast::SetExpr, name: &str) -> bool {
        match body {
            ast::SetExpr::Select(select) => select.from.iter().any(|chain| {
                std::iter::once(&chain.relation).chain(chain.joins.iter().map(|join| &join.relation)).any(|factor| {
                    matches!(factor, ast::TableFactor::Table { name: table, .. }
                        if Analyzer::function_name(table).as_deref() == Some(name))
                })
            }),
            ast::SetExpr::Query(query) => in_body(&query.body, name),
            ast::SetExpr::SetOperation { left, right, .. } => in_body(left, name) || in_body(right, name),
            _ => false,
        }
    }
    in_body(&query.body, name)
}
