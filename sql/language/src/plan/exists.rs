//! EXISTS over a subquery that equalities tie to the row around it. Its rows are read once and found by their
//! values, where it would run anew for each row, and look at all of its own rows each time.

use super::node::{DeferredSource, DeferredValues, JoinKind, Node, ProjectPlan, null};
use super::predicate::{conjunction, conjuncts, has_deferred, hash_alike, shift_right};
use super::prune::{asks_for_any_row, is_steady, leave_rows_alone, rows_named};
use crate::expr::{Comparison, Expr, Step};
use sql_interface::{Result, SqlError};
use sql_types::Type;
use std::sync::Arc;

/// What EXISTS over this query is computed from.
pub(super) fn source(mut node: Node) -> Result<DeferredSource> {
    if !asks_for_any_row(&node) {
        return Ok(DeferredSource::Exists(node));
    }
    leave_rows_alone(&mut node);
    let (mut named, mut has_key) = (0, false);
    each_condition(&node, true, &mut |condition| {
        if is_tie(condition) {
            named += named_in(condition);
            has_key |= sides(condition).is_some();
        }
    });
    // A key that is looked up, and what cannot be asked from outside, stay as they are.
    if !has_key || named != rows_named(&node, 0) || !is_steady(&node) {
        return Ok(DeferredSource::Exists(node));
    }
    let mut ties = Vec::new();
    take_ties(&mut node, true, &mut ties)?;
    partner(node, ties)
}

/// How often an expression names the row around its query.
fn named_in(expr: &Expr) -> usize {
    let mut count = 0;
    expr.walk(&mut |part| {
        count += usize::from(matches!(part, Expr::Outer { depth: 0, .. }));
        true
    });
    count
}

/// Whether a condition is about the row around the query, and can be asked outside of it.
fn is_tie(condition: &Expr) -> bool {
    named_in(condition) > 0 && !has_deferred(condition) && !condition.is_volatile()
}

/// The sides of an equality between the row around the query and the query's row, whose values hash alike.
fn sides(condition: &Expr) -> Option<(&Expr, &Expr)> {
    let (Comparison::Eq, a, b) = condition.as_comparison()? else { return None };
    let names_columns = |expr: &Expr| {
        let mut found = false;
        expr.walk(&mut |part| {
            found |= matches!(part, Expr::Column { .. });
            !found
        });
        found
    };
    let is_pair = |outer, inner| {
        named_in(outer) > 0 && !names_columns(outer) && named_in(inner) == 0 && names_columns(inner)
    };
    if !hash_alike(a.ty().id, b.ty().id) {
        None
    } else if is_pair(a, b) {
        Some((a, b))
    } else {
        is_pair(b, a).then_some((b, a))
    }
}

/// Whether a row of the left input, and of the right one, that does not meet a condition is missing from the
/// join.
fn filters_sides(kind: JoinKind, lateral: bool) -> (bool, bool) {
    match kind {
        JoinKind::Inner => (true, !lateral),
        JoinKind::Left => (true, false),
        JoinKind::Right | JoinKind::Full => (false, false),
    }
}

/// Visits the conditions that decide which rows a query gives. `top`: its row may get more columns.
fn each_condition<'n>(node: &'n Node, top: bool, visit: &mut dyn FnMut(&'n Expr)) {
    let mut parts = |condition: &'n Expr| match condition {
        Expr::And(parts) => parts.iter().for_each(&mut *visit),
        one => visit(one),
    };
    match node {
        Node::Scan(plan) => plan.filter.iter().for_each(visit),
        Node::Filter(plan) => {
            parts(&plan.condition);
            each_condition(&plan.input, top, visit);
        }
        Node::Project(plan) if top => each_condition(&plan.input, top, visit),
        Node::Join(plan) => {
            if plan.kind == JoinKind::Inner {
                plan.condition.iter().for_each(parts);
            }
            let (left, right) = filters_sides(plan.kind, plan.lateral);
            if left {
                each_condition(&plan.left, false, visit);
            }
            if right {
                each_condition(&plan.right, false, visit);
            }
        }
        _ => {}
    }
}

/// Takes those of them that are ties off a query, as conditions over the rows that it gives then.
fn take_ties(node: &mut Node, top: bool, ties: &mut Vec<Expr>) -> Result<()> {
    let shared = || SqlError::internal("a plan is shared too early");
    match node {
        Node::Scan(plan) => {
            let plan = Arc::get_mut(plan).ok_or_else(shared)?;
            ties.extend(plan.filter.extract_if(.., |condition| is_tie(condition)));
        }
        Node::Filter(plan) => {
            let plan = Arc::get_mut(plan).ok_or_else(shared)?;
            let ty = plan.condition.ty();
            let mut parts = conjuncts(std::mem::replace(&mut plan.condition, null(ty)));
            ties.extend(parts.extract_if(.., |condition| is_tie(condition)));
            take_ties(&mut plan.input, top, ties)?;
            match conjunction(parts) {
                Some(condition) => plan.condition = condition,
                None => *node = std::mem::replace(&mut plan.input, Node::Unit),
            }
        }
        Node::Project(plan) if top => {
            let plan = Arc::get_mut(plan).ok_or_else(shared)?;
            let mut below = Vec::new();
            take_ties(&mut plan.input, top, &mut below)?;
            for tie in below {
                ties.push(tie.transform(&mut |part| {
                    Ok(match part {
                        column @ Expr::Column { .. } => Step::Done(placed(&mut plan.exprs, column, 0)),
                        other => Step::Into(other),
                    })
                })?);
            }
        }
        Node::Join(plan) => {
            let plan = Arc::get_mut(plan).ok_or_else(shared)?;
            if plan.kind == JoinKind::Inner
                && let Some(condition) = plan.condition.take()
            {
                let mut parts = conjuncts(condition);
                ties.extend(parts.extract_if(.., |condition| is_tie(condition)));
                plan.condition = conjunction(parts);
            }
            let (left, right) = filters_sides(plan.kind, plan.lateral);
            if left {
                take_ties(&mut plan.left, false, ties)?;
            }
            if right {
                let mut behind = Vec::new();
                take_ties(&mut plan.right, false, &mut behind)?;
                for tie in behind {
                    ties.push(shift_right(tie, plan.left_width)?);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The column, `start` places further, where an expression stands in a list, to which it is added if need be.
fn placed(list: &mut Vec<Expr>, expr: Expr, start: usize) -> Expr {
    let ty = expr.ty();
    let at = list.iter().position(|known| *known == expr).unwrap_or_else(|| {
        list.push(expr);
        list.len() - 1
    });
    Expr::Column { index: start + at, ty }
}

/// A column of a row around a query, as the row next to it names it.
const fn of_outer_row(part: &Expr) -> Option<Expr> {
    match *part {
        Expr::Outer { depth: 0, index, ty } => Some(Expr::Column { index, ty }),
        Expr::Outer { depth, index, ty } => Some(Expr::Outer { depth: depth - 1, index, ty }),
        _ => None,
    }
}

/// An expression of a query about the row around it, as one over that row.
fn outside(expr: Expr) -> Result<Expr> {
    expr.transform(&mut |part| Ok(of_outer_row(&part).map_or_else(|| Step::Into(part), Step::Done)))
}

/// EXISTS over a query that is about no row around it, and what ties its rows to one.
fn partner(input: Node, ties: Vec<Expr>) -> Result<DeferredSource> {
    let (keys, rest): (Vec<Expr>, Vec<Expr>) = ties.into_iter().partition(|tie| sides(tie).is_some());
    let (mut left, mut right): (Vec<Expr>, Vec<Expr>) = (Vec::new(), Vec::new());
    for (outer, inner) in keys.iter().filter_map(sides) {
        left.push(outside(outer.clone())?);
        right.push(inner.clone());
    }
    let keys = left.len();
    // What the other conditions look at stands behind the keys.
    let mut behind = Vec::new();
    for tie in &rest {
        tie.walk(&mut |part| {
            if let Some(value) = of_outer_row(part) {
                placed(&mut behind, value, 0);
            } else if matches!(part, Expr::Column { .. }) {
                placed(&mut right, part.clone(), 0);
            }
            true
        });
    }
    left.extend(behind.iter().cloned());
    let width = left.len();
    let mut matches: Vec<Expr> = (0..keys)
        .filter_map(|at| Some((at, left.get(at)?.ty(), right.get(at)?.ty())))
        .map(|(at, ty, of)| Expr::Compare {
            op: Comparison::Eq,
            left: Box::new(Expr::Column { index: at, ty }),
            right: Box::new(Expr::Column { index: width + at, ty: of }),
        })
        .collect();
    for tie in rest {
        matches.push(tie.transform(&mut |part| {
            Ok(match (of_outer_row(&part), part) {
                (Some(value), _) => Step::Done(placed(&mut behind, value, keys)),
                (None, column @ Expr::Column { .. }) => Step::Done(placed(&mut right, column, width)),
                (None, other) => Step::Into(other),
            })
        })?);
    }
    let matches = conjunction(matches).unwrap_or_else(|| null(Type::of(sql_types::TypeId::Bool)));
    let plan = ProjectPlan { input, exprs: right, deferred: DeferredValues::default() };
    Ok(DeferredSource::Partner { left, node: Node::Project(Arc::new(plan)), keys, matches })
}
