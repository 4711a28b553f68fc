//! GROUP BY and aggregates: from a query's clauses over rows to its clauses over groups.
//!
//! The row of a group is what it is grouped by, and the aggregates behind that. Where a subquery looks at the
//! group, its row is laid out once more: the columns of FROM where they always were (NULL where they are not
//! grouped), then the aggregates, then what it is grouped by. So what the subquery names stays in its place.

use super::analyzer::{Analyzer, QueryLevel};
use super::node::{
    AggregatePlan, DeferredSource, DeferredValue, DeferredValues, FilterPlan, Node, ProjectPlan,
};
use super::prune::outer_columns;
use super::select::Clauses;
use super::{node, predicate};
use crate::expr::{AggregateCall, Expr, Step};
use sql_interface::{Result, SqlError};
use sql_types::{Type, TypeId};
use sqlstate::SqlState;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Subqueries and calls that wait and are written alike, by their places among the deferred values: the first
/// of each. What is grouped or sorted by such a one is the same value as in the select list, computed once.
pub(super) struct SameCalls(Vec<usize>);

impl SameCalls {
    pub(super) fn of(deferred: &[DeferredValue]) -> Self {
        let mut same = Self(Vec::with_capacity(deferred.len()));
        // One of each kind.
        let mut firsts: Vec<(usize, &DeferredValue)> = Vec::new();
        for (at, slot) in deferred.iter().enumerate() {
            let known = firsts.iter().find(|(_, first)| same.are_alike(first, slot));
            let first = known.map_or(at, |(first, _)| *first);
            if first == at {
                firsts.push((at, slot));
            }
            same.0.push(first);
        }
        same
    }

    fn are_alike(&self, one: &DeferredValue, other: &DeferredValue) -> bool {
        let (one, other) = match (&one.source, &other.source) {
            (
                DeferredSource::Call { function, arguments, of_row, .. },
                DeferredSource::Call { function: of, arguments: others, of_row: part, .. },
            ) if function == of && of_row == part => (arguments, others),
            (
                DeferredSource::Sequence { function, arguments },
                DeferredSource::Sequence { function: of, arguments: others },
            ) if function == of => (arguments, others),
            (DeferredSource::Scalar(one), DeferredSource::Scalar(other))
            | (DeferredSource::Exists(one), DeferredSource::Exists(other)) => return one == other,
            (DeferredSource::Array(one, ty), DeferredSource::Array(other, of)) => {
                return ty == of && one == other;
            }
            (
                DeferredSource::Quantified { left, node, matches, all, hashable: _ },
                DeferredSource::Quantified { left: others, node: of, matches: by, all: of_all, hashable: _ },
            ) if all == of_all && matches == by && node == of => (left, others),
            (
                DeferredSource::Partner { left, node, keys, matches },
                DeferredSource::Partner { left: others, node: of, keys: of_keys, matches: by },
            ) if keys == of_keys && matches == by && node == of => (left, others),
            _ => return false,
        };
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| self.are_equal(one, other))
    }

    /// Whether two expressions compute the same from the same row.
    pub(super) fn are_equal(&self, one: &Expr, other: &Expr) -> bool {
        one == other
            || (!self.0.is_empty()
                && predicate::has_deferred(one)
                && predicate::has_deferred(other)
                && matches!((self.first(one), self.first(other)), (Ok(one), Ok(other)) if one == other))
    }

    /// The expression with the first of each call.
    fn first(&self, expr: &Expr) -> Result<Expr> {
        expr.clone().transform(&mut |part| {
            Ok(match part {
                Expr::Deferred { index, ty } => {
                    let index = self.0.get(index).copied().unwrap_or(index);
                    Step::Done(Expr::Deferred { index, ty })
                }
                other => Step::Into(other),
            })
        })
    }
}

/// What a query is grouped by, and where it finds that in a group's row.
struct Groups {
    by: Vec<Expr>,
    same: SameCalls,
    /// Where the grouped expressions begin, and where the aggregates.
    starts: (usize, usize),
}

impl Groups {
    fn place(&self, expr: &Expr) -> Option<usize> {
        self.by.iter().position(|grouped| self.same.are_equal(grouped, expr))
    }

    /// The expression over a group.
    fn over(&self, expr: Expr) -> Result<Expr> {
        let (grouped, aggregates) = self.starts;
        expr.transform(&mut |part| {
            if let Some(at) = self.place(&part) {
                return Ok(Step::Done(Expr::Column { index: grouped + at, ty: part.ty() }));
            }
            Ok(match part {
                Expr::Aggregate { index, ty } => Step::Done(Expr::Column { index: aggregates + index, ty }),
                other => Step::Into(other),
            })
        })
    }

    /// Visits what is computed over a group: all but grouped expressions and aggregates.
    fn walk(&self, expr: &Expr, visit: &mut dyn FnMut(&Expr)) {
        expr.walk(&mut |part| {
            if self.place(part).is_some() || matches!(part, Expr::Aggregate { .. }) {
                return false;
            }
            visit(part);
            true
        });
    }

    /// The deferred values that are computed over groups.
    fn deferred<'e>(
        &self,
        exprs: impl Iterator<Item = &'e Expr>,
        deferred: &[DeferredValue],
    ) -> BTreeSet<usize> {
        let (mut found, mut rest) = (BTreeSet::new(), Vec::new());
        let mut note = |expr: &Expr, rest: &mut Vec<usize>| {
            self.walk(expr, &mut |part| {
                if let Expr::Deferred { index, .. } = part
                    && found.insert(*index)
                {
                    rest.push(*index);
                }
            });
        };
        exprs.for_each(|expr| note(expr, &mut rest));
        while let Some(at) = rest.pop() {
            let own = deferred.get(at).map_or(&[][..], |slot| slot.source.arguments());
            own.iter().for_each(|expr| note(expr, &mut rest));
        }
        found
    }
}

impl Analyzer<'_> {
    /// Groups rows, and makes all later expressions look at groups instead of rows.
    pub(super) fn aggregate_node(&mut self, input: Node, clauses: &mut Clauses) -> Result<Node> {
        let mut deferred = std::mem::take(&mut clauses.deferred);
        let values = Arc::get_mut(&mut deferred).ok_or_else(|| SqlError::internal("values are shared"))?;
        let by = std::mem::take(&mut clauses.group_by);
        let mut groups = Groups { by, same: SameCalls::of(values), starts: (0, 0) };
        let mut having = clauses.having.take();
        let over_groups = groups.deferred(clauses.exprs().chain(&having), values);
        let level = self.level();
        let aggregates = std::mem::take(&mut level.aggregates);
        let width = level.width;
        let mut inner = Vec::new();
        for slot in over_groups.iter().filter_map(|at| values.get(*at)) {
            outer_columns(slot, &mut |above, index, ty| {
                if above == 0 {
                    inner.push((index, ty));
                }
            });
        }
        let arguments = over_groups.iter().filter_map(|at| values.get(*at));
        let arguments = arguments.flat_map(|slot| slot.source.arguments());
        let mut named = Vec::new();
        for expr in clauses.exprs().chain(&having).chain(arguments) {
            groups.walk(expr, &mut |part| {
                if matches!(part, Expr::Column { .. }) && !named.contains(part) {
                    named.push(part.clone());
                }
            });
        }
        let plain = !clauses.grouped && groups.by.is_empty();
        for column in named {
            add_determined(level, &mut groups.by, column, false)?;
        }
        for (index, ty) in inner.iter().filter(|(index, _)| *index < width) {
            let column = Expr::Column { index: *index, ty: *ty };
            if !groups.by.contains(&column) {
                add_determined(level, &mut groups.by, column, true)?;
            }
        }
        let count = groups.by.len();
        groups.starts = if inner.is_empty() { (0, count) } else { (width + aggregates.len(), width) };
        for expr in clauses.exprs_mut().chain(having.as_mut()) {
            replace(expr, &groups)?;
        }
        for at in over_groups {
            let own = values.get_mut(at).map(|slot| slot.source.arguments_mut());
            own.into_iter().flatten().try_for_each(|expr| replace(expr, &groups))?;
        }
        let shown = (!inner.is_empty()).then(|| laid_out(width, &groups, &aggregates));
        let mut node = grouped(input, groups.by, aggregates, &deferred, plain);
        if let Some(exprs) = shown {
            let plan = ProjectPlan { input: node, exprs, deferred: DeferredValues::default() };
            node = Node::Project(Arc::new(plan));
        }
        clauses.deferred = deferred.clone();
        Ok(match having {
            None => node,
            Some(condition) => {
                let deferred =
                    if predicate::has_deferred(&condition) { deferred } else { DeferredValues::default() };
                Node::Filter(Arc::new(FilterPlan { input: node, condition, deferred }))
            }
        })
    }
}

/// Makes an expression look at groups.
fn replace(expr: &mut Expr, groups: &Groups) -> Result<()> {
    let before = std::mem::replace(expr, node::null(Type::of(TypeId::Unknown)));
    *expr = groups.over(before)?;
    Ok(())
}

/// The row of a group as subqueries see it.
fn laid_out(width: usize, groups: &Groups, aggregates: &[AggregateCall]) -> Vec<Expr> {
    let count = groups.by.len();
    let column = |index: usize| {
        let is_it = |expr: &&Expr| matches!(expr, Expr::Column { index: of, .. } if *of == index);
        let found = groups.by.iter().position(|expr| is_it(&expr));
        let ty = found.and_then(|at| groups.by.get(at)).map(Expr::ty);
        match (found, ty) {
            (Some(index), Some(ty)) => Expr::Column { index, ty },
            _ => node::null(Type::of(TypeId::Unknown)),
        }
    };
    let calls = aggregates
        .iter()
        .enumerate()
        .map(|(at, call)| Expr::Column { index: count + at, ty: call.aggregate.ty() });
    let by = groups.by.iter().enumerate().map(|(index, expr)| Expr::Column { index, ty: expr.ty() });
    (0..width).map(column).chain(calls).chain(by).collect()
}

/// The aggregation. What waits is computed in the rows below it.
fn grouped(
    input: Node,
    group_by: Vec<Expr>,
    mut aggregates: Vec<AggregateCall>,
    deferred: &DeferredValues,
    plain: bool,
) -> Node {
    let waits = group_by.iter().chain(aggregates.iter().flat_map(AggregateCall::exprs));
    if !waits.into_iter().any(predicate::has_deferred) {
        return Node::Aggregate(Arc::new(AggregatePlan { input, group_by, aggregates, plain }));
    }
    let mut exprs = Vec::new();
    let mut below = |expr: Expr| {
        let ty = expr.ty();
        exprs.push(expr);
        Expr::Column { index: exprs.len() - 1, ty }
    };
    let group_by = group_by.into_iter().map(&mut below).collect();
    for call in &mut aggregates {
        let filter = call.filter.clone();
        for expr in call.arguments.iter_mut().chain(call.order_by.iter_mut().map(|(key, ..)| key)) {
            let ty = expr.ty();
            let mut whole = std::mem::replace(expr, node::null(ty));
            if let Some(filter) = &filter {
                // Rows that are left out compute nothing.
                whole = Expr::Case { branches: vec![(filter.clone(), whole)], otherwise: None, ty };
            }
            *expr = below(whole);
        }
        call.filter = filter.map(&mut below);
    }
    let input = Node::Project(Arc::new(ProjectPlan { input, exprs, deferred: deferred.clone() }));
    Node::Aggregate(Arc::new(AggregatePlan { input, group_by, aggregates, plain }))
}

/// A column that is not grouped may be named where a grouped primary key determines it: it joins the group
/// without changing it.
fn add_determined(level: &QueryLevel, by: &mut Vec<Expr>, column: Expr, inner: bool) -> Result<()> {
    let Expr::Column { index, .. } = &column else { return Ok(()) };
    if determined(level, *index, by) {
        if !by.contains(&column) {
            by.push(column);
        }
        return Ok(());
    }
    let named = level.columns.iter().find(|known| known.index == *index && known.stored.is_none());
    let name = named.map_or_else(|| "?column?".to_owned(), |known| format!("{}.{}", known.table, known.name));
    let message = if inner {
        format!("subquery uses ungrouped column \"{name}\" from outer query")
    } else {
        format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function")
    };
    Err(SqlError::new(SqlState::GROUPING_ERROR, message))
}

/// Whether a column's table has its whole primary key among the grouped expressions.
fn determined(level: &QueryLevel, index: usize, group_by: &[Expr]) -> bool {
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
