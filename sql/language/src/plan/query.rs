//! SELECT, VALUES, set operations: from syntax to nodes.

use super::analyzer::{Analyzer, Cte, QueryLevel, ScopeColumn, out_of_reach};
use super::from::{FromItem, plain_item};
use super::joins::settle_joins;
use super::node::{DeferredValues, FilterPlan, JoinCheck, LimitPlan, Node, ProjectPlan, SortKey, SortPlan};
use super::predicate;
use super::prune::names_own_row;
use super::select::refuse_locked_rows;
use super::tail::Tail;
use crate::expr::{self, Expr};
use crate::parse::{fold, table_factor, walk};
use sql_catalogue::system::known;
use sql_interface::{Result, SqlError, stack};
use sql_types::cast::CastContext;
use sql_types::{Type, TypeId};
use sqlparser::ast::{self, Spanned};
use sqlstate::SqlState;
use std::collections::HashSet;
use std::sync::Arc;

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

/// A select list entry.
pub(super) struct TargetEntry {
    pub(super) expr: Expr,
    pub(super) name: String,
    pub(super) origin: Option<(u32, i16)>,
}

impl Analyzer<'_> {
    /// A query at the top of a statement.
    pub(crate) fn query(&mut self, query: &ast::Query) -> Result<Select> {
        self.sibling(|analyzer| analyzer.query_in_level(query))
    }

    /// A query whose names stand in the level that was just pushed.
    pub(crate) fn query_in_level(&mut self, query: &ast::Query) -> Result<Select> {
        let known = self.ctes.len();
        let result = self.query_with(query);
        self.ctes.truncate(known);
        result
    }

    /// A query with its WITH clause, whose names stay. Parentheses around all of its body do not make it
    /// another query: what stands behind them belongs to what is inside.
    fn query_with(&mut self, query: &ast::Query) -> Result<Select> {
        let (mut tail, mut body, mut with) = (Tail::of(query)?, &*query.body, query.with.as_ref());
        let first = self.ctes.len();
        if let Some(with) = with {
            self.add_ctes(with)?;
        }
        while let ast::SetExpr::Query(inner) = body {
            tail = tail.around(Tail::of(inner)?)?;
            if let Some(inner) = &inner.with {
                if with.is_some() {
                    return Err(SqlError::syntax("multiple WITH clauses not allowed"));
                }
                self.add_ctes(inner)?;
                with = Some(inner);
            }
            body = &inner.body;
        }
        let select = self.body(body, &tail)?;
        if with.is_some() {
            self.analyse_unread(first)?;
        }
        Ok(select)
    }

    /// The queries of a WITH clause; each later one sees those before it.
    pub(super) fn add_ctes(&mut self, with: &ast::With) -> Result<()> {
        let mut names = HashSet::with_capacity(with.cte_tables.len());
        for cte in &with.cte_tables {
            let name = fold(&cte.alias.name);
            if !names.insert(name.clone()) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                )
                .at(self.at(&cte.alias.name)));
            }
            if matches!(
                *cte.query.body,
                ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_)
            ) {
                return Err(SqlError::unsupported("a WITH query that changes data"));
            }
            if with.recursive && names_table(&cte.query, &name) {
                return Err(SqlError::unsupported("WITH RECURSIVE"));
            }
            let columns = cte.alias.columns.iter().map(|column| fold(&column.name)).collect();
            let sees = self.ctes.len();
            let mut query = stack::copying(self.tokens, || (*cte.query).clone());
            let volatile = walk::calls_any(&mut query, known::is_volatile);
            self.ctes.push(Cte { name, columns, query: Arc::new(query), sees, volatile, reads: 0 });
        }
        Ok(())
    }

    pub(super) fn body(&mut self, body: &ast::SetExpr, tail: &Tail<'_>) -> Result<Select> {
        if !matches!(body, ast::SetExpr::Select(_)) {
            refuse_locked_rows(body, tail.locks)?;
        }
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
            ast::SetExpr::SetOperation { .. } => {
                let select = self.set_operations(body)?;
                self.finish(select, tail)
            }
            ast::SetExpr::Table(table) => {
                let parts: Vec<ast::Ident> =
                    table.schema_name.iter().chain(&table.table_name).cloned().collect();
                let factor = table_factor(ast::ObjectName::from(parts));
                let from = [ast::TableWithJoins { relation: factor, joins: Vec::new() }];
                let item = self.tables_from(FromItem::unit(), &from, false)?;
                let input = self.show(item);
                let (mut exprs, mut columns) = (Vec::new(), Vec::new());
                for target in self.star()? {
                    columns.push(OutputColumn {
                        name: target.name,
                        ty: target.expr.ty(),
                        origin: target.origin,
                    });
                    exprs.push(target.expr);
                }
                let node = Node::Project(Arc::new(ProjectPlan {
                    input,
                    exprs,
                    deferred: DeferredValues::default(),
                }));
                self.finish(Select { node, columns }, tail)
            }
            ast::SetExpr::Insert(_)
            | ast::SetExpr::Update(_)
            | ast::SetExpr::Delete(_)
            | ast::SetExpr::Merge(_) => Err(SqlError::unsupported("a query that changes data in this place")),
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

    /// ORDER BY and LIMIT over a body whose output columns are all that can be named.
    fn finish(&mut self, select: Select, tail: &Tail<'_>) -> Result<Select> {
        let Select { mut node, columns } = select;
        if !tail.order_by.is_empty() {
            let shown = columns.iter().map(|column| (column.name.clone(), column.ty)).collect();
            let item = plain_item(Node::Unit, "", None, None, shown);
            self.show(item);
            let mut keys = Vec::with_capacity(tail.order_by.len());
            for order in tail.order_by {
                let (descending, nulls_first) = direction(order)?;
                let expr = match ordinal(&order.expr, columns.len(), "ORDER BY")? {
                    Some(index) => Expr::Column {
                        index,
                        ty: columns.get(index).map_or(Type::of(TypeId::Text), |c| c.ty),
                    },
                    None => self.compile_in("ORDER BY", &order.expr)?,
                };
                if !matches!(expr, Expr::Column { .. }) {
                    return Err(SqlError::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
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

    /// Puts LIMIT and OFFSET on top; a sort below, if each of its rows comes out, learns how many are wanted.
    pub(super) fn limit(&mut self, mut node: Node, tail: &Tail<'_>) -> Result<Node> {
        if tail.limit.is_none() && tail.offset.is_none() {
            return Ok(node);
        }
        let limit = tail.limit.map(|limit| self.row_count("LIMIT", limit)).transpose()?.flatten();
        let offset = tail.offset.map(|offset| self.row_count("OFFSET", offset)).transpose()?.flatten();
        let deferred = self.take_deferred();
        for (place, count) in [("LIMIT", &limit), ("OFFSET", &offset)] {
            if count.as_ref().is_some_and(|count| names_own_row(count, &deferred)) {
                return Err(SqlError::new(
                    SqlState::INVALID_COLUMN_REFERENCE,
                    format!("argument of {place} must not contain variables"),
                ));
            }
        }
        if deferred.is_empty()
            && limit.is_some()
            && let Some(sort) = sort_below(&mut node)
        {
            sort.limit = Some((limit.clone(), offset.clone()));
        }
        Ok(Node::Limit(Arc::new(LimitPlan { input: node, limit, offset, deferred })))
    }

    /// LIMIT ALL and LIMIT NULL are none.
    fn row_count(&mut self, place: &'static str, ast: &ast::Expr) -> Result<Option<Expr>> {
        if matches!(ast, ast::Expr::Identifier(word) if word.value.eq_ignore_ascii_case("all")) {
            return Ok(None);
        }
        let count = self.compile_in(place, ast)?;
        expr::coerce(count, Type::of(TypeId::Int8), CastContext::Assignment, self).map(Some)
    }

    /// `*`
    fn star(&mut self) -> Result<Vec<TargetEntry>> {
        let level = self.level();
        if level.tables.is_empty() {
            return Err(SqlError::syntax("SELECT * with no tables specified is not valid"));
        }
        let shown = level.columns.iter().filter(|column| !column.internal && !column.hidden);
        let targets: Vec<TargetEntry> = shown
            .map(|column| TargetEntry {
                expr: column.expr(),
                name: column.name.clone(),
                origin: column.origin,
            })
            .collect();
        targets.iter().for_each(|target| self.note_read(target.origin));
        Ok(targets)
    }

    /// `table.*`, of this query or of one around it; in the table's own order, whatever its joins show first.
    fn star_of(&mut self, table: &str) -> Result<Vec<TargetEntry>> {
        let has = |level: &QueryLevel| {
            let from = level.visible_from;
            level.tables.iter().any(|known| *known.alias == *table && known.start >= from)
        };
        let Some(depth) = self.levels.iter().rposition(has) else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{table}\""),
            ));
        };
        let Some(level) = self.levels.get(depth) else { return Ok(Vec::new()) };
        let named = |column: &&ScopeColumn| {
            !column.internal && *column.table == *table && column.index >= level.visible_from
        };
        let mut columns: Vec<ScopeColumn> = level.columns.iter().filter(named).cloned().collect();
        if columns.iter().any(|column| column.index < level.target_width) {
            return Err(out_of_reach(SqlState::INVALID_COLUMN_REFERENCE, table));
        }
        columns.sort_by_key(|column| column.place);
        let mut targets = Vec::with_capacity(columns.len());
        for column in columns {
            self.note_read(column.origin);
            let expr = column.shown(self.column_at(depth, column.index, column.stored_type()));
            targets.push(TargetEntry { expr, name: column.name, origin: column.origin });
        }
        Ok(targets)
    }

    /// The entries of a select list or RETURNING, stars spelled out.
    pub(super) fn targets(&mut self, items: &[ast::SelectItem]) -> Result<Vec<TargetEntry>> {
        let mut targets = Vec::with_capacity(items.len());
        for item in items {
            match item {
                ast::SelectItem::UnnamedExpr(ast) => targets.push(self.target(ast, None)?),
                ast::SelectItem::ExprWithAlias { expr, alias } => {
                    targets.push(self.target(expr, Some(fold(alias)))?)
                }
                ast::SelectItem::Wildcard(options) => {
                    require_plain_star(options, false)?;
                    targets.extend(self.star()?);
                }
                ast::SelectItem::QualifiedWildcard(
                    ast::SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => {
                    // A label is taken behind this star, and says nothing.
                    require_plain_star(options, true)?;
                    let (_, table, position) = self.table_name(name)?;
                    targets.extend(self.star_of(&table).map_err(|error| error.at(position))?);
                }
                _ => return Err(SqlError::unsupported("this entry of a select list")),
            }
        }
        Ok(targets)
    }

    fn target(&mut self, ast: &ast::Expr, alias: Option<String>) -> Result<TargetEntry> {
        let expr = self.compile(ast)?;
        let origin = match &expr {
            Expr::Column { index, .. } => {
                let level = self.level();
                level.columns.iter().find(|column| column.index == *index).and_then(|column| column.origin)
            }
            _ => None,
        };
        Ok(TargetEntry { expr, name: alias.unwrap_or_else(|| output_name(ast)), origin })
    }

    /// RETURNING: expressions over the level's columns.
    pub(crate) fn returning(
        &mut self,
        items: &[ast::SelectItem],
    ) -> Result<(super::node::Returning, Vec<OutputColumn>)> {
        self.level().no_aggregates_in = Some("RETURNING");
        let targets = self.targets(items)?;
        if targets.is_empty() {
            let position = items.first().and_then(|item| self.source.position(item.span().start));
            return Err(SqlError::syntax("RETURNING must have at least one column").at(position));
        }
        let deferred = self.take_deferred();
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
        Ok((super::node::Returning { exprs, deferred }, columns))
    }

    /// FROM and WHERE, as one node whose row the level shows; and the conditions, for later rechecks.
    pub(crate) fn filtered(
        &mut self,
        start: FromItem,
        from: &[ast::TableWithJoins],
        selection: Option<&ast::Expr>,
        emit_keys: bool,
    ) -> Result<(Node, Recheck)> {
        let (node, joins) = self.shown_from(start, from, emit_keys)?;
        self.where_clause(node, joins, selection)
    }

    /// FROM, as a node whose row the level shows; and the conditions of its joins, for later rechecks.
    pub(super) fn shown_from(
        &mut self,
        start: FromItem,
        from: &[ast::TableWithJoins],
        emit_keys: bool,
    ) -> Result<(Node, Vec<JoinCheck>)> {
        let mut item = self.tables_from(start, from, emit_keys)?;
        let joins = std::mem::take(&mut item.checks);
        Ok((self.show(item), joins))
    }

    /// WHERE, over the node of FROM.
    pub(super) fn where_clause(
        &mut self,
        mut node: Node,
        joins: Vec<JoinCheck>,
        selection: Option<&ast::Expr>,
    ) -> Result<(Node, Recheck)> {
        let mut whole = None;
        let mut deferred = DeferredValues::default();
        if let Some(selection) = selection {
            let condition = self.condition("WHERE", selection)?;
            deferred = self.take_deferred();
            whole = Some(condition.clone());
            let (mut above, mut below) = (Vec::new(), Vec::new());
            for part in predicate::conjuncts(condition) {
                if predicate::has_deferred(&part) { above.push(part) } else { below.push(part) }
            }
            for part in below {
                predicate::push(&mut node, part)?;
            }
            if let Some(condition) = predicate::conjunction(above) {
                node =
                    Node::Filter(Arc::new(FilterPlan { input: node, condition, deferred: deferred.clone() }));
            }
        }
        predicate::settle_ranges(&mut node);
        settle_joins(&mut node, self.facts)?;
        Ok((node, Recheck { joins, condition: whole, deferred }))
    }
}

/// The sort of which a plan gives all rows, changed or not.
fn sort_below(node: &mut Node) -> Option<&mut SortPlan> {
    match node {
        Node::Sort(plan) => Arc::get_mut(plan),
        Node::Project(plan) => sort_below(&mut Arc::get_mut(plan)?.input),
        _ => None,
    }
}

/// What is looked at again in a row that was locked.
pub(crate) struct Recheck {
    pub(super) joins: Vec<JoinCheck>,
    /// Of WHERE.
    pub(super) condition: Option<Expr>,
    pub(super) deferred: DeferredValues,
}

/// DESC and the place of NULLs.
pub(super) fn direction(order: &ast::OrderByExpr) -> Result<(bool, bool)> {
    let descending = match &order.options.sort {
        None | Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(ast::OrderBySort::Using(operator)) => match operator
            .to_string()
            .trim_start_matches("pg_catalog.")
        {
            "<" => false,
            ">" => true,
            other => {
                return Err(SqlError::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("operator {other} is not a valid ordering operator"),
                )
                .with_hint("Ordering operators must be \"<\" or \">\" members of btree operator families."));
            }
        },
    };
    Ok((descending, order.options.nulls_first.unwrap_or(descending)))
}

/// A bare integer names an output column, counted from 1.
pub(super) fn ordinal(ast: &ast::Expr, count: usize, place: &str) -> Result<Option<usize>> {
    let ast = expr::strip(ast);
    // A number with a sign is a constant, too, and none of the list's.
    if let ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } = ast
        && let ast::Expr::Value(value) = &**expr
        && let ast::Value::Number(text, _) = &value.value
    {
        let (code, message) = match text.parse::<i32>() {
            Ok(_) => (
                SqlState::INVALID_COLUMN_REFERENCE,
                format!("{place} position -{text} is not in select list"),
            ),
            Err(_) => (SqlState::SYNTAX_ERROR, format!("non-integer constant in {place}")),
        };
        return Err(SqlError::new(code, message));
    }
    let ast::Expr::Value(value) = ast else { return Ok(None) };
    match &value.value {
        // What is more than an integer is a constant of another type.
        ast::Value::Number(text, _) => match text.parse::<i32>().map(usize::try_from) {
            Ok(Ok(number)) if (1..=count).contains(&number) => Ok(Some(number - 1)),
            Ok(_) => Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!("{place} position {text} is not in select list"),
            )),
            Err(_) => Err(SqlError::syntax(format!("non-integer constant in {place}"))),
        },
        ast::Value::Placeholder(_) => Ok(None),
        _ => Err(SqlError::syntax(format!("non-integer constant in {place}"))),
    }
}

/// 42601 for what other dialects write behind `*`.
fn require_plain_star(options: &ast::WildcardAdditionalOptions, may_have_label: bool) -> Result<()> {
    let ast::WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let foreign = opt_ilike.is_some()
        || opt_exclude.is_some()
        || opt_except.is_some()
        || opt_replace.is_some()
        || opt_rename.is_some()
        || (opt_alias.is_some() && !may_have_label);
    if foreign { Err(SqlError::syntax("syntax error behind \"*\"")) } else { Ok(()) }
}

/// A type as it names a column: an array by its elements, unless it is written by a name of its own.
fn type_name(data_type: &ast::DataType) -> Option<String> {
    let ty = expr::data_type(data_type).ok()?;
    let element = matches!(data_type, ast::DataType::Array(_)).then(|| ty.id.element()).flatten();
    Some(element.unwrap_or(ty.id).name().to_owned())
}

/// How PostgreSQL names a column without an alias.
fn output_name(ast: &ast::Expr) -> String {
    named(ast).map_or_else(|| "?column?".to_owned(), |name| name.text)
}

/// The name that an expression gives to its column.
struct OutputName {
    text: String,
    /// Of a column or a call, which a cast around it keeps.
    firm: bool,
}

fn named(ast: &ast::Expr) -> Option<OutputName> {
    let firm = |text: &str| Some(OutputName { text: text.to_owned(), firm: true });
    let weak = |text: String| Some(OutputName { text, firm: false });
    match ast {
        ast::Expr::Identifier(name) => firm(&fold(name)),
        ast::Expr::CompoundIdentifier(parts) => firm(&fold(parts.last()?)),
        ast::Expr::Function(call) if expr::is_values(call) => firm("column1"),
        ast::Expr::Function(call) => firm(&fold(call.name.0.last()?.as_ident()?)),
        ast::Expr::Nested(inner) | ast::Expr::Collate { expr: inner, .. } => named(inner),
        ast::Expr::CompoundFieldAccess { root, access_chain }
            if access_chain.iter().all(|access| matches!(access, ast::AccessExpr::Subscript(_))) =>
        {
            named(root)
        }
        ast::Expr::CompoundFieldAccess { access_chain, .. } => {
            let field = |access: &ast::AccessExpr| match access {
                ast::AccessExpr::Dot(name) => Some(name.clone()),
                ast::AccessExpr::Subscript(_) => None,
            };
            access_chain.iter().filter_map(field).next_back().as_ref().and_then(named)
        }
        ast::Expr::Cast { expr, data_type, .. } => match named(expr) {
            Some(name) if name.firm => Some(name),
            name => type_name(data_type).map_or(name, weak),
        },
        ast::Expr::Value(value) if matches!(value.value, ast::Value::NationalStringLiteral(_)) => {
            weak("bpchar".to_owned())
        }
        ast::Expr::TypedString(typed) => type_name(&typed.data_type).and_then(weak),
        ast::Expr::Interval(_) => weak("interval".to_owned()),
        ast::Expr::Case { else_result, .. } => match else_result.as_deref().and_then(named) {
            Some(name) if name.firm => Some(name),
            _ => weak("case".to_owned()),
        },
        ast::Expr::Exists { subquery: _, negated: false } => firm("exists"),
        ast::Expr::Subquery(query) => match &*query.body {
            ast::SetExpr::Select(select) => match select.projection.as_slice() {
                [ast::SelectItem::UnnamedExpr(inner)] => firm(&output_name(inner)),
                [ast::SelectItem::ExprWithAlias { alias, .. }] => firm(&fold(alias)),
                _ => None,
            },
            _ => None,
        },
        ast::Expr::Array(_) => firm("array"),
        ast::Expr::Extract { .. } => firm("extract"),
        ast::Expr::Position { .. } => firm("position"),
        ast::Expr::Substring { shorthand: true, .. } => firm("substr"),
        ast::Expr::Substring { .. } => firm("substring"),
        ast::Expr::Trim { trim_where: Some(ast::TrimWhereField::Leading), .. } => firm("ltrim"),
        ast::Expr::Trim { trim_where: Some(ast::TrimWhereField::Trailing), .. } => firm("rtrim"),
        ast::Expr::Trim { .. } => firm("btrim"),
        ast::Expr::Overlay { .. } => firm("overlay"),
        ast::Expr::Ceil { .. } => firm("ceil"),
        ast::Expr::Floor { .. } => firm("floor"),
        ast::Expr::AtTimeZone { .. } => firm("timezone"),
        _ => None,
    }
}

/// Whether a query's FROM clauses name a table (roughly: at the top of its set operations).
fn names_table(query: &ast::Query, name: &str) -> bool {
    fn in_body(body: &ast::SetExpr, name: &str) -> bool {
        match body {
            ast::SetExpr::Select(select) => select.from.iter().any(|chain| {
                std::iter::once(&chain.relation).chain(chain.joins.iter().map(|join| &join.relation)).any(
                    |factor| {
                        matches!(factor, ast::TableFactor::Table { name: table, .. }
                        if matches!(table.0.as_slice(), [ast::ObjectNamePart::Identifier(table)] if fold(table) == name))
                    },
                )
            }),
            ast::SetExpr::Query(query) => in_body(&query.body, name),
            ast::SetExpr::SetOperation { left, right, .. } => in_body(left, name) || in_body(right, name),
            _ => false,
        }
    }
    in_body(&query.body, name)
}
