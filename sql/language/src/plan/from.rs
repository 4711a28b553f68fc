//! The FROM clause: tables, subqueries, functions and joins, each with the columns that it brings.

use super::analyzer::{Analyzer, ScopeColumn, ScopeTable};
use super::names::is_session_word;
use super::node::{DeferredValues, JoinCheck, JoinKind, JoinPlan, Node, RangePlan, ScanPlan};
use super::rechecks;
use super::using::common_names;
use crate::expr::Expr;
use crate::parse::fold;
use sql_interface::{Result, SqlError, stack};
use sql_types::{Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::Direction;

/// Part of a FROM clause: a row source, and its columns numbered from its own first.
#[derive(Debug)]
pub(crate) struct FromItem {
    pub(crate) node: Node,
    pub(crate) columns: Vec<ScopeColumn>,
    pub(crate) tables: Vec<ScopeTable>,
    pub(crate) width: usize,
    /// So many of its first columns are those of the table that the statement changes.
    pub(crate) target_width: usize,
    /// The conditions of its joins, where rows are to be locked.
    pub(super) checks: Vec<JoinCheck>,
}

impl FromItem {
    pub(crate) fn unit() -> Self {
        Self {
            node: Node::Unit,
            columns: Vec::new(),
            tables: Vec::new(),
            width: 0,
            target_width: 0,
            checks: Vec::new(),
        }
    }

    /// Moves its columns to the right by `by` places.
    fn shift(&mut self, by: usize) {
        for column in &mut self.columns {
            column.index += by;
        }
        for table in &mut self.tables {
            table.start += by;
            table.key = table.key.map(|key| key + by);
        }
    }

    /// Gives its one table another name, and the first of its columns others.
    pub(super) fn rename(&mut self, alias: &str, columns: &[String]) -> Result<()> {
        let name: Arc<str> = Arc::from(alias);
        // What a join in parentheses does not show is out of reach behind its alias.
        self.columns.iter_mut().for_each(|column| column.internal |= column.hidden);
        let visible = self.columns.iter().filter(|column| !column.internal).count();
        if columns.len() > visible {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!(
                    "table \"{alias}\" has {visible} columns available but {} columns specified",
                    columns.len()
                ),
            ));
        }
        for (column, new) in self.columns.iter_mut().filter(|column| !column.internal).zip(columns) {
            column.name.clone_from(new);
        }
        for (place, column) in self.columns.iter_mut().enumerate() {
            column.table = name.clone();
            column.schema = None;
            column.place = place;
        }
        let relation = match self.tables.as_slice() {
            [one] => one.clone(),
            _ => ScopeTable {
                alias: name.clone(),
                relation: None,
                start: 0,
                key: None,
                oid: None,
                nullable: false,
            },
        };
        // What is read under a name of its own, not the tables below a view or a subquery.
        let is_table = relation.oid.is_some();
        match &mut self.node {
            Node::Scan(plan) if is_table => {
                if let Some(plan) = Arc::get_mut(plan) {
                    plan.alias = name.clone();
                }
            }
            Node::Generated(plan) => {
                if let Some(plan) = Arc::get_mut(plan) {
                    plan.alias = name.clone();
                }
            }
            _ => {}
        }
        self.tables = vec![ScopeTable { alias: name, ..relation }];
        Ok(())
    }
}

/// A table of the catalogue as a FROM item, with its key as one more column that no name reaches.
pub(crate) fn table_item(relation: &Arc<sql_catalogue::Relation>, emit_key: bool) -> FromItem {
    let alias: Arc<str> = Arc::from(relation.name.as_str());
    let mut columns: Vec<ScopeColumn> = relation
        .live_columns()
        .map(|(index, column)| ScopeColumn {
            table: alias.clone(),
            schema: Some("public"),
            name: column.name.clone(),
            ty: column.ty,
            stored: None,
            origin: Some((relation.oid, column.number)),
            index,
            place: index,
            hidden: false,
            internal: false,
        })
        .collect();
    let count = relation.columns.len();
    if emit_key {
        columns.push(ScopeColumn {
            table: alias.clone(),
            schema: None,
            name: String::new(),
            ty: Type::of(TypeId::Bytea),
            stored: None,
            origin: None,
            index: count,
            place: count,
            hidden: true,
            internal: true,
        });
    }
    let plan = ScanPlan {
        relation: relation.clone(),
        alias: alias.clone(),
        needed: relation.live_columns().map(|(index, _)| index).collect(),
        emit_key,
        index: None,
        range: RangePlan::default(),
        direction: Direction::Forward,
        is_ordered: false,
        is_lookup: false,
        filter: Vec::new(),
    };
    FromItem {
        node: Node::Scan(Arc::new(plan)),
        columns,
        tables: vec![ScopeTable {
            alias,
            relation: Some(relation.clone()),
            start: 0,
            key: emit_key.then_some(count),
            oid: Some(relation.oid),
            nullable: false,
        }],
        width: count + usize::from(emit_key),
        target_width: 0,
        checks: Vec::new(),
    }
}

impl Analyzer<'_> {
    /// Both sides' rows, every one with every other.
    pub(super) fn cross(&mut self, left: FromItem, right: FromItem) -> Result<FromItem> {
        if left.width == 0 && matches!(left.node, Node::Unit) && !self.lateral_pending {
            return Ok(right);
        }
        self.combine(left, right, JoinKind::Inner)
    }

    /// That no table on the right is called like one on the left; within each side that was asked before.
    fn check_aliases(left: &FromItem, right: &FromItem) -> Result<()> {
        for table in &right.tables {
            if left.tables.iter().any(|before| before.alias == table.alias) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("table name \"{}\" specified more than once", table.alias),
                ));
            }
        }
        Ok(())
    }

    fn combine(&mut self, left: FromItem, mut right: FromItem, kind: JoinKind) -> Result<FromItem> {
        let lateral = std::mem::take(&mut self.lateral_pending);
        if lateral && matches!(kind, JoinKind::Right | JoinKind::Full) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "the combining JOIN type must be INNER or LEFT for a LATERAL reference",
            ));
        }
        Self::check_aliases(&left, &right)?;
        stack::check_levels(left.tables.len().max(right.tables.len()))?;
        right.shift(left.width);
        let checks = rechecks::of_both(left.checks, right.checks, kind, left.width)?;
        let width = left.width + right.width;
        let plan = JoinPlan {
            kind,
            left: left.node,
            right: right.node,
            left_width: left.width,
            right_width: right.width,
            hash_keys: Vec::new(),
            condition: None,
            deferred: DeferredValues::default(),
            build_left: false,
            lateral,
            refused: false,
        };
        let mut columns = left.columns;
        columns.append(&mut right.columns);
        let mut tables = left.tables;
        if matches!(kind, JoinKind::Right | JoinKind::Full) {
            tables.iter_mut().for_each(|table| table.nullable = true);
        }
        if matches!(kind, JoinKind::Left | JoinKind::Full) {
            right.tables.iter_mut().for_each(|table| table.nullable = true);
        }
        tables.append(&mut right.tables);
        let target_width = left.target_width;
        Ok(FromItem { node: Node::Join(Arc::new(plan)), columns, tables, width, target_width, checks })
    }

    pub(super) fn join(
        &mut self,
        mut left: FromItem,
        join: &ast::Join,
        chain_start: usize,
        emit_keys: bool,
    ) -> Result<FromItem> {
        use ast::JoinOperator as Op;
        let none = ast::JoinConstraint::None;
        let (kind, constraint, cross) = match &join.join_operator {
            Op::Join(constraint) | Op::Inner(constraint) => (JoinKind::Inner, constraint, false),
            Op::Left(constraint) | Op::LeftOuter(constraint) => (JoinKind::Left, constraint, false),
            Op::Right(constraint) | Op::RightOuter(constraint) => (JoinKind::Right, constraint, false),
            Op::FullOuter(constraint) => (JoinKind::Full, constraint, false),
            Op::CrossJoin(_) => (JoinKind::Inner, &none, true),
            _ => return Err(SqlError::unsupported("this kind of join")),
        };
        let right = self.factor(&mut left, &join.relation, emit_keys)?;
        let common = match constraint {
            ast::JoinConstraint::Natural => common_names(&left, chain_start, &right),
            _ => Vec::new(),
        };
        let left_width = left.width;
        let mut item = self.combine(left, right, kind)?;
        match constraint {
            ast::JoinConstraint::On(condition) => {
                let condition = self.with_shown(&mut item, |analyzer| {
                    analyzer.level().visible_from = chain_start;
                    analyzer.condition("JOIN/ON", condition)
                })?;
                let deferred = self.take_deferred();
                if emit_keys {
                    item.check(&condition, &deferred)?;
                }
                self.add_join_condition(&mut item.node, condition, deferred)?;
            }
            ast::JoinConstraint::Using(_) | ast::JoinConstraint::Natural => {
                let names: Vec<String> = match constraint {
                    ast::JoinConstraint::Using(names) => {
                        names.iter().map(|name| self.bare_name(name)).collect::<Result<Vec<String>>>()?
                    }
                    _ => common,
                };
                self.join_using(&mut item, &names, (chain_start, left_width), kind, emit_keys)?;
            }
            ast::JoinConstraint::UsingAlias(..) => {
                return Err(SqlError::unsupported("an alias of the columns of USING"));
            }
            ast::JoinConstraint::None if cross => {}
            ast::JoinConstraint::None => return Err(SqlError::syntax("a join needs ON or USING")),
        }
        Ok(item)
    }

    fn add_join_condition(
        &mut self,
        node: &mut Node,
        condition: Expr,
        deferred: DeferredValues,
    ) -> Result<()> {
        let Node::Join(plan) = node else { return Err(SqlError::internal("a join without a join node")) };
        let plan = Arc::get_mut(plan).ok_or_else(|| SqlError::internal("a plan is shared too early"))?;
        let (left_width, lateral, kind) = (plan.left_width, plan.lateral, plan.kind);
        let mut rest = Vec::new();
        for part in super::predicate::conjuncts(condition) {
            if deferred.is_empty() && !lateral {
                match super::predicate::hash_key(part, left_width) {
                    Ok(pair) => {
                        plan.hash_keys.push(pair);
                        continue;
                    }
                    Err(part) => rest.push(part),
                }
            } else {
                rest.push(part);
            }
        }
        // What an inner (or left) join asks of its right side alone can be asked there.
        if deferred.is_empty() && matches!(kind, JoinKind::Inner | JoinKind::Left) {
            let mut above = Vec::new();
            for part in rest {
                if super::predicate::only_from(&part, left_width, usize::MAX) && !part.is_volatile() {
                    super::predicate::push(&mut plan.right, super::predicate::shift_left(part, left_width)?)?;
                } else if kind == JoinKind::Inner
                    && super::predicate::only_from(&part, 0, left_width)
                    && !part.is_volatile()
                {
                    super::predicate::push(&mut plan.left, part)?;
                } else {
                    above.push(part);
                }
            }
            rest = above;
        }
        if kind == JoinKind::Full
            && plan.hash_keys.is_empty()
            && super::full_join::is_refused(&rest, left_width)
        {
            self.full_joins_refused = true;
            plan.refused = true;
        }
        plan.condition = super::predicate::conjunction(rest);
        plan.deferred = deferred;
        Ok(())
    }

    pub(super) fn factor(
        &mut self,
        left: &mut FromItem,
        factor: &ast::TableFactor,
        emit_keys: bool,
    ) -> Result<FromItem> {
        self.count_from_item()?;
        self.lateral_pending = false;
        let mut item = match factor {
            ast::TableFactor::Table { name, args: Some(args), with_ordinality, .. } => {
                let alias = alias_name(factor);
                self.function_item(left, name, &args.args, *with_ordinality, alias)?
            }
            ast::TableFactor::Table { name, with_ordinality, .. } if is_session_word(name) => {
                self.function_item(left, name, &[], *with_ordinality, alias_name(factor))?
            }
            ast::TableFactor::Function { name, args, with_ordinality, .. } => {
                let alias = alias_name(factor);
                self.function_item(left, name, args, *with_ordinality, alias)?
            }
            ast::TableFactor::UNNEST { array_exprs, with_ordinality, with_offset: false, .. } => {
                let [array] = array_exprs.as_slice() else {
                    return Err(SqlError::unsupported("unnest of more than one array"));
                };
                let argument = ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(array.clone()));
                let name = ast::ObjectName::from(vec![ast::Ident::new("unnest")]);
                self.function_item(left, &name, &[argument], *with_ordinality, alias_name(factor))?
            }
            ast::TableFactor::Table { name, sample: None, version: None, .. } => {
                self.named_item(name, emit_keys)?
            }
            ast::TableFactor::Table { .. } => return Err(SqlError::unsupported("TABLESAMPLE")),
            ast::TableFactor::Derived { lateral, subquery, sample: None, alias } => {
                if alias.is_none() {
                    return Err(SqlError::syntax("subquery in FROM must have an alias")
                        .with_hint("For example, FROM (SELECT ...) [AS] foo."));
                }
                self.derived(left, *lateral, subquery)?
            }
            ast::TableFactor::NestedJoin { table_with_joins, .. } => {
                self.nested_join(left, table_with_joins, emit_keys)?
            }
            _ => return Err(SqlError::unsupported("this kind of table in FROM")),
        };
        if let Some(alias) = alias_of(factor) {
            let columns: Vec<String> = alias.columns.iter().map(|column| fold(&column.name)).collect();
            let name = fold(&alias.name);
            item.rename(&name, &columns)?;
        }
        Ok(item)
    }

    /// A query in FROM. Only a LATERAL one sees the tables before it.
    pub(super) fn derived(
        &mut self,
        left: &mut FromItem,
        lateral: bool,
        query: &ast::Query,
    ) -> Result<FromItem> {
        let (mut select, uses_left) = if lateral {
            self.with_shown(left, |analyzer| {
                analyzer.nested(|analyzer| {
                    analyzer.push_level();
                    let result = analyzer.query_in_level(query);
                    let depth = analyzer.levels.len() - 1;
                    let uses_left = analyzer.levels.last().is_some_and(|level| level.outermost < depth);
                    analyzer.pop_level();
                    Ok((result?, uses_left))
                })
            })?
        } else {
            (self.sibling(|analyzer| analyzer.query_in_level(query))?, false)
        };
        select.settle_unknowns(self)?;
        self.lateral_pending = uses_left;
        let columns = select.columns.iter().map(|column| (column.name.clone(), column.ty)).collect();
        let origins: Vec<Option<(u32, i16)>> = select.columns.iter().map(|column| column.origin).collect();
        let mut item = plain_item(select.node, "", None, None, columns);
        for (column, origin) in item.columns.iter_mut().zip(origins) {
            column.origin = origin;
        }
        Ok(item)
    }

    /// Works while the present level shows the columns of `item`. They are moved there and back: a long FROM
    /// clause would otherwise be copied for each of its joins.
    pub(super) fn with_shown<T>(
        &mut self,
        item: &mut FromItem,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let target_width = item.target_width;
        let mut exchange = |analyzer: &mut Self| {
            let level = analyzer.level();
            std::mem::swap(&mut level.columns, &mut item.columns);
            std::mem::swap(&mut level.tables, &mut item.tables);
        };
        exchange(self);
        let level = self.level();
        level.target_width = target_width;
        let place = level.no_aggregates_in.replace("FROM clause of their own query level");
        let result = work(self);
        self.level().no_aggregates_in = place;
        exchange(self);
        let level = self.level();
        (level.visible_from, level.target_width) = (0, 0);
        result
    }

    /// Works at a level of its own in the place of the present one.
    pub(crate) fn sibling<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let saved = self.levels.pop();
        let result = self.nested(|analyzer| {
            analyzer.push_level();
            let result = work(analyzer);
            let (level, _) = analyzer.pop_level();
            Ok((result?, level.outermost))
        });
        if let Some(mut saved) = saved {
            if let Ok((_, outermost)) = &result {
                saved.outermost = saved.outermost.min(*outermost);
            }
            self.levels.push(saved);
        }
        result.map(|(value, _)| value)
    }
}

/// An item of these columns, all visible.
pub(crate) fn plain_item(
    node: Node,
    table: &str,
    schema: Option<&'static str>,
    oid: Option<u32>,
    columns: Vec<(String, Type)>,
) -> FromItem {
    let alias: Arc<str> = Arc::from(table);
    let width = columns.len();
    let columns = columns
        .into_iter()
        .enumerate()
        .map(|(index, (name, ty))| ScopeColumn {
            table: alias.clone(),
            schema,
            name,
            ty,
            stored: None,
            origin: oid.and_then(|oid| Some((oid, i16::try_from(index + 1).ok()?))),
            index,
            place: index,
            hidden: false,
            internal: false,
        })
        .collect();
    let tables = vec![ScopeTable { alias, relation: None, start: 0, key: None, oid, nullable: false }];
    FromItem { node, columns, tables, width, target_width: 0, checks: Vec::new() }
}

fn alias_of(factor: &ast::TableFactor) -> Option<&ast::TableAlias> {
    match factor {
        ast::TableFactor::Table { alias, .. }
        | ast::TableFactor::Derived { alias, .. }
        | ast::TableFactor::Function { alias, .. }
        | ast::TableFactor::UNNEST { alias, .. }
        | ast::TableFactor::NestedJoin { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

fn alias_name(factor: &ast::TableFactor) -> Option<String> {
    alias_of(factor).map(|alias| fold(&alias.name))
}
