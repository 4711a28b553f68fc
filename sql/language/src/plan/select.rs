//! SELECT: the select list, grouping, ordering, DISTINCT and row locks around a FROM clause.

use super::analyzer::Analyzer;
use super::from::FromItem;
use super::grouping::SameCalls;
use super::late::{List, reads_from, sort_by_all, sorted_by};
use super::node::{
    DeferredValues, DistinctPlan, LockPlan, LockTarget, Node, ProjectPlan, ProjectSetPlan, RowWait, SetCall,
    SortKey, SortPlan,
};
use super::outputs::is_open;
use super::predicate;
use super::query::{OutputColumn, Recheck, Select, TargetEntry, direction, ordinal};
use super::tail::Tail;
use crate::expr::{self, Expr};
use crate::parse::fold;
use crate::parse::{TARGETS_MAX, too_many_targets};
use sql_catalogue::rights::{Object, Privileges};
use sql_interface::{Result, SqlError};
use sql_types::{Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::LockMode;

/// What the clauses of a SELECT were compiled to, but for FROM and WHERE.
pub(super) struct Clauses {
    /// The select list.
    exprs: Vec<Expr>,
    /// Its names.
    columns: Vec<OutputColumn>,
    /// GROUP BY is written.
    pub(super) grouped: bool,
    pub(super) group_by: Vec<Expr>,
    pub(super) having: Option<Expr>,
    distinct_on: Option<Vec<Expr>>,
    /// ORDER BY.
    keys: Vec<SortKey>,
    /// Of all of them.
    pub(super) deferred: DeferredValues,
}

impl Analyzer<'_> {
    pub(super) fn select(&mut self, select: &ast::Select, tail: &Tail<'_>) -> Result<Select> {
        refuse_absent_clauses(select)?;
        let lock = tail.locks.first();
        let (node, joins) = self.shown_from(FromItem::unit(), &select.from, lock.is_some())?;
        // As PostgreSQL goes: a parameter's type is that of its first place in this order.
        let targets = self.select_list(select)?;
        let of_targets = std::mem::take(&mut self.level().deferred);
        let (mut node, recheck) = self.where_clause(node, joins, select.selection.as_ref())?;
        self.level().deferred = of_targets;
        let mut clauses = self.clauses(select, targets, tail)?;
        let level = self.level();
        let mut set_calls = std::mem::take(&mut level.set_calls);
        let aggregated = clauses.grouped || !level.aggregates.is_empty() || clauses.having.is_some();
        if let Some(lock) = lock {
            refuse_locked_queries(&select.from, tail.locks)?;
            refuse_locks(lock, select, &clauses, aggregated, !set_calls.is_empty())?;
            return self.locked_select(node, recheck, tail, clauses);
        }
        let sets_at = if set_calls.is_empty() { usize::MAX } else { level.width };
        if aggregated {
            if !set_calls.is_empty() {
                return Err(SqlError::unsupported("a set-returning function next to an aggregate"));
            }
            node = self.aggregate_node(node, &mut clauses)?;
        } else if !set_calls.is_empty() && clauses.is_about_sets(select.distinct.as_ref(), sets_at) {
            let calls = std::mem::take(&mut set_calls);
            let deferred = clauses.deferred.clone();
            node = Node::ProjectSet(Arc::new(ProjectSetPlan { input: node, calls, deferred }));
        }
        // Rows may come in the wanted order by themselves.
        if !aggregated
            && select.distinct.is_none()
            && let Some(wanted) = plain_order(&clauses.keys)
            && !wanted.is_empty()
            && predicate::order_by_key(&mut node, &wanted, tail.limit.is_some())
        {
            clauses.keys.clear();
        }
        self.assemble(node, clauses, (set_calls, sets_at), select.distinct.as_ref(), tail)
    }

    /// Compiles what is behind SELECT.
    fn select_list(&mut self, select: &ast::Select) -> Result<Vec<TargetEntry>> {
        self.level().sets_allowed = group_by(select)?.is_empty();
        let targets = self.targets(&select.projection)?;
        limit_targets(targets.len())?;
        self.level().sets_allowed = false;
        Ok(targets)
    }

    /// Compiles all clauses but the list, FROM and WHERE, which are there already.
    fn clauses(
        &mut self,
        select: &ast::Select,
        targets: Vec<TargetEntry>,
        tail: &Tail<'_>,
    ) -> Result<Clauses> {
        let group_asts = group_by(select)?;
        let grouped = !group_asts.is_empty();
        let having = select.having.as_ref().map(|having| {
            let condition = self.compile(having)?;
            self.boolean("HAVING", condition)
        });
        let having = having.transpose()?;
        let mut exprs: Vec<Expr> = targets.iter().map(|target| target.expr.clone()).collect();
        let mut columns: Vec<OutputColumn> = targets
            .into_iter()
            .map(|target| OutputColumn { name: target.name, ty: target.expr.ty(), origin: target.origin })
            .collect();
        let mut distinct_on = match &select.distinct {
            Some(ast::Distinct::On(list)) => Some(
                list.iter()
                    .map(|ast| self.named_or_compiled(ast, &columns, &exprs, "DISTINCT ON"))
                    .collect::<Result<Vec<_>>>()?,
            ),
            _ => None,
        };
        let mut keys = Vec::with_capacity(tail.order_by.len());
        for order in tail.order_by {
            let (descending, nulls_first) = direction(order)?;
            let expr = self.named_or_compiled(&order.expr, &columns, &exprs, "ORDER BY")?;
            keys.push(SortKey { expr, descending, nulls_first });
        }
        let mut group_by = group_asts
            .iter()
            .map(|ast| self.group_expression(ast, &columns, &exprs))
            .collect::<Result<Vec<Expr>>>()?;
        limit_targets(group_by.len())?;
        limit_targets(keys.len())?;
        let on = distinct_on.iter().flatten();
        let by = keys.iter().map(|key| &key.expr).chain(&group_by).chain(on);
        if exprs.iter().chain(by).any(is_open) {
            let all = is_plain_distinct(select.distinct.as_ref());
            let on = distinct_on.iter_mut().flatten();
            let by = keys.iter_mut().map(|key| &mut key.expr).chain(&mut group_by).chain(on);
            self.settle_parameters(&mut exprs, by, all)?;
            for (column, expr) in columns.iter_mut().zip(&exprs) {
                column.ty = expr.ty();
            }
        }
        let deferred = self.take_deferred();
        Ok(Clauses { exprs, columns, grouped, group_by, having, distinct_on, keys, deferred })
    }

    /// What rows are sorted, grouped and told apart by must have a type: a parameter without one is text
    /// there, and so it is where the select list shows it. `all`: by all of the list.
    fn settle_parameters<'e>(
        &mut self,
        exprs: &mut [Expr],
        by: impl Iterator<Item = &'e mut Expr>,
        all: bool,
    ) -> Result<()> {
        let mut settled = Vec::new();
        for expr in by.filter(|expr| is_open(expr)) {
            settled.push(expr.clone());
            *expr = expr::settle(expr.clone(), self)?;
        }
        for expr in exprs.iter_mut().filter(|expr| is_open(expr) && (all || settled.contains(expr))) {
            *expr = expr::settle(expr.clone(), self)?;
        }
        Ok(())
    }

    /// Projection, DISTINCT, ORDER BY, LIMIT over a row source. `sets`: set-returning functions that are not
    /// in its row yet, and where their results are to begin.
    fn assemble(
        &mut self,
        node: Node,
        clauses: Clauses,
        (sets, sets_at): (Vec<SetCall>, usize),
        distinct: Option<&ast::Distinct>,
        tail: &Tail<'_>,
    ) -> Result<Select> {
        let Clauses { mut exprs, columns, distinct_on, keys, deferred, .. } = clauses;
        let visible = exprs.len();
        let (mut sort, on) = numbered(&mut exprs, &deferred, keys, distinct_on);
        let plain_distinct = is_plain_distinct(distinct);
        if plain_distinct && sort.iter().any(|(at, _)| *at >= visible) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        limit_targets(exprs.len())?;
        let types: Vec<Type> = exprs.iter().map(Expr::ty).collect();
        let sorted = !sort.is_empty();
        if sorted {
            sort_by_all(&mut sort, on.as_deref().unwrap_or_default(), &types)?;
        }
        let is_key = |at| sort.iter().any(|(key, _)| *key == at) || on.iter().flatten().any(|key| *key == at);
        let list = List { exprs, visible, deferred, sets, sets_at };
        let waits = if sorted && !plain_distinct {
            self.late_entries(&list, is_key, tail.limit.is_some())
        } else {
            None
        };
        let (mut node, places, late) = match waits {
            Some(waits) => {
                let (node, places, late) = list.split(node, &waits, is_key)?;
                (node, places, Some(late))
            }
            None => (list.over(node), (0..types.len()).collect(), None),
        };
        if plain_distinct {
            let plan = DistinctPlan { input: node, columns: (0..visible).collect(), sorted: false };
            node = Node::Distinct(Arc::new(plan));
        }
        if sorted {
            node = sorted_by(node, sort, &types, &places);
        }
        if let Some(on) = on {
            let columns = on.iter().filter_map(|at| places.get(*at)).copied().collect();
            node = Node::Distinct(Arc::new(DistinctPlan { input: node, columns, sorted }));
        }
        let is_whole = late.is_some() || types.len() == visible;
        if let Some(late) = late {
            node = late.over(node);
        }
        node = self.limit(node, tail)?;
        if let Some(visible) = types.get(..visible)
            && !is_whole
        {
            node = without_hidden(node, visible);
        }
        Ok(Select { node, columns })
    }

    /// SELECT ... FOR UPDATE: rows are sorted, then locked as they are asked for, then projected.
    fn locked_select(
        &mut self,
        mut node: Node,
        recheck: Recheck,
        tail: &Tail<'_>,
        clauses: Clauses,
    ) -> Result<Select> {
        let Clauses { exprs, columns, mut keys, deferred, .. } = clauses;
        self.writes = true;
        let wanted = plain_order(&keys).filter(|wanted| !wanted.is_empty());
        if wanted.is_some_and(|wanted| predicate::order_by_key(&mut node, &wanted, tail.limit.is_some())) {
            keys.clear();
        }
        if keys.iter().any(|key| predicate::has_deferred(&key.expr)) {
            node = with_keys(node, self.level().width, &mut keys, &deferred);
        }
        if !keys.is_empty() {
            node = Node::Sort(Arc::new(SortPlan { input: node, keys, limit: None }));
        }
        let targets = self.lock_targets(tail.locks)?;
        let Recheck { joins, condition: recheck, deferred: recheck_deferred } = recheck;
        node = Node::Lock(Arc::new(LockPlan {
            input: node,
            targets,
            joins,
            recheck,
            deferred: recheck_deferred,
        }));
        node = Node::Project(Arc::new(ProjectPlan { input: node, exprs, deferred }));
        node = self.limit(node, tail)?;
        Ok(Select { node, columns })
    }

    /// The tables whose rows are locked, and how.
    fn lock_targets(&mut self, locks: &[ast::LockClause]) -> Result<Vec<LockTarget>> {
        let mut targets = Vec::new();
        for lock in locks {
            let of = match &lock.of {
                None => None,
                Some(name) if name.0.len() > 1 => {
                    let message = format!("{} must specify unqualified relation names", strength(lock));
                    return Err(SqlError::syntax(message));
                }
                Some(name) => Some(self.table_name(name)?.1),
            };
            let mode = match lock.lock_type {
                ast::LockType::Update => LockMode::Update,
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
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{of}\" in {} clause not found in FROM clause", strength(lock)),
                ));
            }
            let mut locked = Vec::new();
            for table in &level.tables {
                if of.as_ref().is_some_and(|of| *table.alias != **of) {
                    continue;
                }
                let (Some(relation), Some(key)) = (&table.relation, table.key) else {
                    // Without OF, what has no rows of its own is passed over.
                    if of.is_some() {
                        return Err(cannot_lock(lock, "be applied to anything but a table"));
                    }
                    continue;
                };
                if table.nullable {
                    return Err(cannot_lock(lock, "be applied to the nullable side of an outer join"));
                }
                let needed = relation.live_columns().map(|(at, _)| at).collect();
                locked.push(Object::Relation(relation.oid));
                targets.push(LockTarget {
                    relation: relation.clone(),
                    start: table.start,
                    key,
                    mode,
                    wait,
                    needed,
                });
            }
            locked.iter().for_each(|object| self.require(object, Privileges::UPDATE));
        }
        Ok(targets)
    }

    /// ORDER BY and DISTINCT ON: an ordinal, an output column's name, or any expression.
    fn named_or_compiled(
        &mut self,
        ast: &ast::Expr,
        columns: &[OutputColumn],
        exprs: &[Expr],
        place: &str,
    ) -> Result<Expr> {
        let ast = expr::strip(ast);
        if let Some(at) = ordinal(ast, columns.len(), place)? {
            return exprs.get(at).cloned().ok_or_else(|| SqlError::internal("an ordinal out of range"));
        }
        if let ast::Expr::Identifier(name) = ast {
            let wanted = fold(name);
            let mut found: Option<&Expr> = None;
            for (column, expr) in columns.iter().zip(exprs).filter(|(column, _)| column.name == wanted) {
                if found.is_some_and(|before| before != expr) {
                    let message = format!("{place} \"{}\" is ambiguous", column.name);
                    return Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message).at(self.at(name)));
                }
                found = Some(expr);
            }
            if let Some(expr) = found {
                return Ok(expr.clone());
            }
        }
        self.level().in_sort_keys = true;
        let compiled = self.compile(ast);
        self.level().in_sort_keys = false;
        compiled
    }

    /// GROUP BY: an ordinal, a column of FROM, an output column's name, or any expression.
    fn group_expression(
        &mut self,
        ast: &ast::Expr,
        columns: &[OutputColumn],
        exprs: &[Expr],
    ) -> Result<Expr> {
        let ast = expr::strip(ast);
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
                SqlState::GROUPING_ERROR,
                "aggregate functions are not allowed in GROUP BY",
            ));
        }
        Ok(expr)
    }
}

impl Clauses {
    /// Whether sets, whose results stand in the row from `sets_at` on, are to be there before rows are sorted
    /// and told apart: by them, or because nothing is sorted.
    fn is_about_sets(&self, distinct: Option<&ast::Distinct>, sets_at: usize) -> bool {
        let by = self.distinct_on.iter().flatten().chain(self.keys.iter().map(|key| &key.expr));
        self.keys.is_empty()
            || is_plain_distinct(distinct)
            || by.into_iter().any(|expr| reads_from(expr, sets_at))
    }

    /// All expressions that see groups where rows are grouped, but for HAVING.
    pub(super) fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let on = self.distinct_on.iter().flatten();
        self.exprs.iter().chain(on).chain(self.keys.iter().map(|key| &key.expr))
    }

    pub(super) fn exprs_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let on = self.distinct_on.iter_mut().flatten();
        self.exprs.iter_mut().chain(on).chain(self.keys.iter_mut().map(|key| &mut key.expr))
    }
}

/// The rows with their sort keys behind them, some of which wait.
fn with_keys(input: Node, width: usize, keys: &mut [SortKey], deferred: &DeferredValues) -> Node {
    let ty = Type::of(TypeId::Unknown);
    let mut exprs: Vec<Expr> = (0..width).map(|index| Expr::Column { index, ty }).collect();
    for key in keys {
        let column = Expr::Column { index: exprs.len(), ty: key.expr.ty() };
        exprs.push(std::mem::replace(&mut key.expr, column));
    }
    Node::Project(Arc::new(ProjectPlan { input, exprs, deferred: deferred.clone() }))
}

/// The first columns, of these types, without those behind them that only ORDER BY and DISTINCT ON look at.
fn without_hidden(input: Node, visible: &[Type]) -> Node {
    let exprs = visible.iter().enumerate().map(|(index, ty)| Expr::Column { index, ty: *ty }).collect();
    Node::Project(Arc::new(ProjectPlan { input, exprs, deferred: DeferredValues::default() }))
}

/// 0A000 for row locks of a query in FROM, whose tables' rows PostgreSQL locks.
fn refuse_locked_queries(from: &[ast::TableWithJoins], locks: &[ast::LockClause]) -> Result<()> {
    let factors = from.iter().flat_map(|chain| {
        std::iter::once(&chain.relation).chain(chain.joins.iter().map(|join| &join.relation))
    });
    for factor in factors {
        match factor {
            ast::TableFactor::NestedJoin { table_with_joins, .. } => {
                refuse_locked_queries(std::slice::from_ref(table_with_joins), locks)?;
            }
            // What is asked inside of it cannot be asked again.
            ast::TableFactor::Derived { lateral: true, .. } => {
                return Err(SqlError::unsupported("FOR UPDATE beside a LATERAL query"));
            }
            ast::TableFactor::Derived { alias, .. } => {
                let is_locked = |lock: &ast::LockClause| {
                    let named = lock.of.as_ref().and_then(|of| of.0.last()?.as_ident());
                    let alias = alias.as_ref().map(|alias| fold(&alias.name));
                    named.is_none_or(|named| Some(fold(named)) == alias)
                };
                if locks.iter().any(is_locked) {
                    return Err(SqlError::unsupported("FOR UPDATE of a query in FROM"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// ORDER BY and DISTINCT ON by the numbers of their expressions: those that the select list has not stand
/// behind it.
fn numbered(
    exprs: &mut Vec<Expr>,
    deferred: &DeferredValues,
    keys: Vec<SortKey>,
    distinct_on: Option<Vec<Expr>>,
) -> (Vec<(usize, SortKey)>, Option<Vec<usize>>) {
    let compares = !keys.is_empty() || distinct_on.is_some();
    let same = SameCalls::of(if compares { deferred.as_slice() } else { &[] });
    let mut place = |expr: Expr| match exprs.iter().position(|known| same.are_equal(known, &expr)) {
        Some(at) => at,
        None => {
            exprs.push(expr);
            exprs.len() - 1
        }
    };
    let mut sort: Vec<(usize, SortKey)> = Vec::with_capacity(keys.len());
    for key in keys {
        let at = place(key.expr.clone());
        // Named again, it has nothing left to sort.
        if !sort.iter().any(|(known, _)| *known == at) {
            sort.push((at, key));
        }
    }
    let on = distinct_on.map(|list| list.into_iter().map(&mut place).collect());
    (sort, on)
}

/// DISTINCT without ON.
const fn is_plain_distinct(distinct: Option<&ast::Distinct>) -> bool {
    matches!(distinct, Some(ast::Distinct::Distinct))
}

/// What is behind GROUP BY.
fn group_by(select: &ast::Select) -> Result<&[ast::Expr]> {
    match &select.group_by {
        ast::GroupByExpr::Expressions(list, modifiers) if modifiers.is_empty() => Ok(list),
        _ => Err(SqlError::unsupported("this form of GROUP BY")),
    }
}

/// 0A000 for row locks where a result row is not one row of a table.
fn refuse_locks(
    lock: &ast::LockClause,
    select: &ast::Select,
    clauses: &Clauses,
    aggregated: bool,
    makes_sets: bool,
) -> Result<()> {
    let what = if select.distinct.is_some() {
        "DISTINCT clause"
    } else if clauses.grouped {
        "GROUP BY clause"
    } else if clauses.having.is_some() {
        "HAVING clause"
    } else if aggregated {
        "aggregate functions"
    } else if makes_sets {
        "set-returning functions in the target list"
    } else {
        return Ok(());
    };
    Err(not_locked_with(lock, what))
}

/// The words of a clause that locks rows.
const fn strength(lock: &ast::LockClause) -> &'static str {
    match lock.lock_type {
        ast::LockType::Update => "FOR UPDATE",
        ast::LockType::Share => "FOR SHARE",
    }
}

fn cannot_lock(lock: &ast::LockClause, what: &str) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{} cannot {what}", strength(lock)))
}

fn not_locked_with(lock: &ast::LockClause, what: &str) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{} is not allowed with {what}", strength(lock)))
}

/// 0A000 for row locks of a set operation or of VALUES: those are rows of no table.
pub(super) fn refuse_locked_rows(body: &ast::SetExpr, locks: &[ast::LockClause]) -> Result<()> {
    match (locks.first(), body) {
        (None, _) => Ok(()),
        (Some(lock), ast::SetExpr::Values(_)) => Err(cannot_lock(lock, "be applied to VALUES")),
        (Some(lock), ast::SetExpr::Table(_)) => {
            Err(SqlError::unsupported(format!("TABLE ... {}", strength(lock))))
        }
        (Some(_), _) => refuse_locks_in_sets(locks),
    }
}

/// 0A000 for row locks of one of the queries that a set operation joins, or of all.
pub(super) fn refuse_locks_in_sets(locks: &[ast::LockClause]) -> Result<()> {
    locks.first().map_or(Ok(()), |lock| Err(not_locked_with(lock, "UNION/INTERSECT/EXCEPT")))
}

/// An ORDER BY of columns alone.
fn plain_order(keys: &[SortKey]) -> Option<Vec<predicate::Order>> {
    keys.iter()
        .map(|key| match key.expr {
            Expr::Column { index: column, .. } => {
                Some(predicate::Order { column, descending: key.descending, nulls_first: key.nulls_first })
            }
            _ => None,
        })
        .collect()
}

/// 54011: what is selected, grouped and sorted by has one limit, PostgreSQL's.
fn limit_targets(count: usize) -> Result<()> {
    if count > TARGETS_MAX { Err(too_many_targets()) } else { Ok(()) }
}

/// 0A000 for PostgreSQL's clauses that are absent; those of other servers were refused with the text.
fn refuse_absent_clauses(select: &ast::Select) -> Result<()> {
    if select.into.is_some() {
        return Err(SqlError::unsupported("SELECT INTO").with_hint("Use CREATE TABLE AS."));
    }
    if !select.named_window.is_empty() {
        return Err(SqlError::unsupported("WINDOW"));
    }
    Ok(())
}
