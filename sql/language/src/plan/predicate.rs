//! Conditions: taking them apart, moving them to where they cost least, turning them into key ranges.

use super::node::{DeferredValues, FilterPlan, JoinKind, Node, RangePlan, ScanPlan};
use crate::expr::{Comparison, Expr, Step};
use sql_catalogue::Relation;
use sql_interface::{Result, SqlError};
use std::sync::Arc;

/// The parts of a condition that are joined by AND.
pub(crate) fn conjuncts(condition: Expr) -> Vec<Expr> {
    match condition {
        Expr::And(parts) => parts.into_iter().flat_map(conjuncts).collect(),
        other => vec![other],
    }
}

/// The opposite of [`conjuncts`].
pub(crate) fn conjunction(mut parts: Vec<Expr>) -> Option<Expr> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(Expr::And(parts)),
    }
}

/// Both conditions, asked in this order. However many are added one by one, the result does not nest.
fn and(before: Expr, more: Expr) -> Expr {
    match before {
        Expr::And(mut parts) => {
            parts.push(more);
            Expr::And(parts)
        }
        before => Expr::And(vec![before, more]),
    }
}

/// Adds a condition to those that are there.
pub(crate) fn add_condition(condition: &mut Option<Expr>, more: Expr) {
    *condition = Some(match condition.take() {
        None => more,
        Some(before) => and(before, more),
    });
}

/// Whether an expression needs values computed before it.
pub(crate) fn has_deferred(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |part| {
        found |= matches!(part, Expr::Deferred { .. });
        !found
    });
    found
}

/// Whether all columns that an expression names (at least one) lie in `start..end`.
pub(crate) fn only_from(expr: &Expr, start: usize, end: usize) -> bool {
    let (mut some, mut all) = (false, true);
    expr.walk(&mut |part| {
        if let Expr::Column { index, .. } = part {
            some = true;
            all &= (start..end).contains(index);
        }
        true
    });
    some && all
}

/// Whether an expression looks at nothing of the row.
pub(crate) fn is_rowless(expr: &Expr) -> bool {
    let mut rowless = true;
    expr.walk(&mut |part| {
        rowless &= !matches!(part, Expr::Column { .. } | Expr::Deferred { .. } | Expr::Aggregate { .. });
        rowless
    });
    rowless
}

/// Whether an expression has one value for all rows.
fn is_fixed(expr: &Expr) -> bool {
    is_rowless(expr) && !expr.is_volatile()
}

fn move_columns(expr: Expr, change: impl Fn(usize) -> usize) -> Result<Expr> {
    expr.transform(&mut |part| {
        Ok(match part {
            Expr::Column { index, ty } => Step::Done(Expr::Column { index: change(index), ty }),
            other => Step::Into(other),
        })
    })
}

/// The same over a row that begins `by` places later.
pub(crate) fn shift_left(expr: Expr, by: usize) -> Result<Expr> {
    move_columns(expr, |index| index.saturating_sub(by))
}

/// The same over a row that begins `by` places earlier.
pub(crate) fn shift_right(expr: Expr, by: usize) -> Result<Expr> {
    move_columns(expr, |index| index + by)
}

/// Whether values of two types are equal exactly when they hash alike, integers of all widths brought to one.
pub(crate) fn hash_alike(a: sql_types::TypeId, b: sql_types::TypeId) -> bool {
    use sql_types::TypeId::{Int2, Int4, Int8, Name, Text, Varchar};
    let integer = |id| matches!(id, Int2 | Int4 | Int8);
    let string = |id| matches!(id, Text | Varchar | Name);
    a == b || (integer(a) && integer(b)) || (string(a) && string(b))
}

/// Takes an equality between both sides of a join apart: over the left row, over the right row. Gives it back
/// if it is none, or if the sides' values do not hash alike.
pub(crate) fn hash_key(condition: Expr, left_width: usize) -> std::result::Result<(Expr, Expr), Expr> {
    let Some((Comparison::Eq, a, b)) = condition.as_comparison() else { return Err(condition) };
    if !hash_alike(a.ty().id, b.ty().id) || has_deferred(&condition) || condition.is_volatile() {
        return Err(condition);
    }
    let (left, right) = if only_from(a, 0, left_width) && only_from(b, left_width, usize::MAX) {
        (a.clone(), b.clone())
    } else if only_from(b, 0, left_width) && only_from(a, left_width, usize::MAX) {
        (b.clone(), a.clone())
    } else {
        return Err(condition);
    };
    match shift_left(right, left_width) {
        Ok(right) => Ok((left, right)),
        Err(_) => Err(condition),
    }
}

/// Asks a condition (without deferred values) of a row source, as far down as it can be asked.
pub(crate) fn push(node: &mut Node, condition: Expr) -> Result<()> {
    if let Some(stays) = sink(node, condition)? {
        wrap(node, stays);
    }
    Ok(())
}

/// Asks a condition below the top of a row source; gives it back if it can't be asked there.
fn sink(node: &mut Node, condition: Expr) -> Result<Option<Expr>> {
    if condition.is_volatile() {
        return Ok(Some(condition));
    }
    match node {
        Node::Scan(plan) => match Arc::get_mut(plan) {
            Some(plan) => {
                plan.filter.push(condition);
                Ok(None)
            }
            None => Err(SqlError::internal("a plan is shared too early")),
        },
        Node::Filter(plan) => match Arc::get_mut(plan) {
            Some(plan) => sink(&mut plan.input, condition),
            None => Err(SqlError::internal("a plan is shared too early")),
        },
        Node::Project(plan) => match Arc::get_mut(plan) {
            Some(plan) => match over_input(&condition, &plan.exprs)? {
                Some(below) => Ok(sink(&mut plan.input, below)?.map(|_| condition)),
                None => Ok(Some(condition)),
            },
            None => Err(SqlError::internal("a plan is shared too early")),
        },
        Node::Join(shared) => {
            let Some(plan) = Arc::get_mut(shared) else {
                return Err(SqlError::internal("a plan is shared too early"));
            };
            let width = plan.left_width;
            let left_kept = matches!(plan.kind, JoinKind::Inner | JoinKind::Left);
            let right_kept = matches!(plan.kind, JoinKind::Inner | JoinKind::Right);
            if left_kept && only_from(&condition, 0, width) {
                return push(&mut plan.left, condition).map(|()| None);
            }
            if right_kept && only_from(&condition, width, usize::MAX) {
                // The right side of a lateral join sees one more outer row.
                let condition = shift_left(condition, width)?;
                let condition = if plan.lateral { deepen(condition)? } else { condition };
                return push(&mut plan.right, condition).map(|()| None);
            }
            if plan.kind == JoinKind::Inner {
                if plan.lateral {
                    add_condition(&mut plan.condition, condition);
                } else {
                    match hash_key(condition, width) {
                        Ok(pair) => plan.hash_keys.push(pair),
                        Err(condition) => add_condition(&mut plan.condition, condition),
                    }
                }
                return Ok(None);
            }
            Ok(Some(condition))
        }
        _ => Ok(Some(condition)),
    }
}

/// A condition over the rows that `exprs` give, as one over the row that they look at; None where it needs
/// what waits, or may be another value the next time.
fn over_input(condition: &Expr, exprs: &[Expr]) -> Result<Option<Expr>> {
    let mut can_go = true;
    condition.walk(&mut |part| {
        if let Expr::Column { index, .. } = part {
            can_go &= exprs.get(*index).is_some_and(|expr| !has_deferred(expr) && !expr.is_volatile());
        }
        can_go
    });
    if !can_go {
        return Ok(None);
    }
    let below = condition.clone().transform(&mut |part| {
        Ok(match part {
            Expr::Column { index, .. } => {
                let expr = exprs.get(index).ok_or_else(|| SqlError::internal("an unknown column"))?;
                Step::Done(expr.clone())
            }
            other => Step::Into(other),
        })
    })?;
    Ok(Some(below))
}

/// The same where one more outer row lies in between.
fn deepen(expr: Expr) -> Result<Expr> {
    expr.transform(&mut |part| {
        Ok(match part {
            Expr::Outer { depth, index, ty } => Step::Done(Expr::Outer { depth: depth + 1, index, ty }),
            other => Step::Into(other),
        })
    })
}

fn wrap(node: &mut Node, condition: Expr) {
    if let Node::Filter(plan) = node
        && let Some(plan) = Arc::get_mut(plan)
        && plan.deferred.is_empty()
    {
        let before = std::mem::replace(&mut plan.condition, super::node::null(condition.ty()));
        plan.condition = and(before, condition);
        return;
    }
    let input = std::mem::replace(node, Node::Unit);
    *node = Node::Filter(Arc::new(FilterPlan { input, condition, deferred: DeferredValues::default() }));
}

/// Works out the key range of each scan from its filter, when all conditions of a query level are in place:
/// once more for a query in FROM, whose rows the level around it asks more of. An order that was promised
/// stays, and so does the key that a join looks rows up by.
pub(crate) fn settle_ranges(node: &mut Node) {
    match node {
        Node::Scan(plan) => {
            if let Some(plan) = Arc::get_mut(plan).filter(|plan| !plan.is_ordered && !plan.is_lookup) {
                choose_path(plan);
            }
        }
        Node::Filter(plan) => {
            if let Some(plan) = Arc::get_mut(plan) {
                settle_ranges(&mut plan.input);
            }
        }
        Node::Project(plan) => {
            if let Some(plan) = Arc::get_mut(plan) {
                settle_ranges(&mut plan.input);
            }
        }
        Node::Join(plan) => {
            if let Some(plan) = Arc::get_mut(plan) {
                settle_ranges(&mut plan.left);
                settle_ranges(&mut plan.right);
            }
        }
        _ => {}
    }
}

/// One bound of a column: how it compares, and with what.
fn bound(condition: &Expr, column: usize, relation: &Relation) -> Option<(Comparison, Expr)> {
    let (comparison, a, b) = condition.as_comparison()?;
    let is_column = |expr: &Expr| matches!(expr, Expr::Column { index, .. } if *index == column);
    let (comparison, value) = if is_column(a) && is_fixed(b) {
        (comparison, b)
    } else if is_column(b) && is_fixed(a) {
        (comparison.swapped(), a)
    } else {
        return None;
    };
    let id = relation.columns.get(column)?.ty.id;
    // Only values of the column's own type can be put into its keys as they are; integers of other widths are
    // brought to it when the scan begins.
    let integers =
        |id| matches!(id, sql_types::TypeId::Int2 | sql_types::TypeId::Int4 | sql_types::TypeId::Int8);
    let strings =
        |id| matches!(id, sql_types::TypeId::Text | sql_types::TypeId::Varchar | sql_types::TypeId::Name);
    let found = value.ty().id;
    let fits = found == id || (integers(found) && integers(id)) || (strings(found) && strings(id));
    fits.then(|| (comparison, value.clone()))
}

/// `column IN (...)` or `column = ANY (array of constants)`, as the list of values.
fn members(condition: &Expr, column: usize, relation: &Relation) -> Option<Vec<Expr>> {
    let (tested, list) = condition.as_in_list()?;
    let id = relation.columns.get(column)?.ty.id;
    let fits = matches!(tested, Expr::Column { index, .. } if *index == column)
        && list.iter().all(|value| value.ty().id == id && is_fixed(value));
    fits.then(|| list.to_vec())
}

/// Chooses between the table's own tree and its indexes: the way whose key is bound most.
fn choose_path(plan: &mut ScanPlan) {
    let relation = plan.relation.clone();
    let mut best = (0, None, RangePlan::default());
    if let Some(key) = &relation.primary_key {
        let range = key_range(plan, &key.columns, true);
        // The rows themselves are there: what binds an index as well is no better.
        let worth = bound_by(&range) + u32::from(bound_by(&range) > 0);
        if worth > best.0 {
            best = (worth, None, range);
        }
    }
    for (at, index) in relation.indexes.iter().enumerate() {
        let columns: Vec<usize> = index.columns.iter().map(|column| column.at).collect();
        let range = key_range(plan, &columns, index.unique);
        let worth = bound_by(&range);
        if worth > best.0 {
            best = (worth, Some(at), range);
        }
    }
    (_, plan.index, plan.range) = best;
}

/// How much a range leaves out, as far as its form tells.
fn bound_by(range: &RangePlan) -> u32 {
    if range.point {
        return 10_000;
    }
    let equal = u32::try_from(range.equal.len()).unwrap_or(u32::MAX).saturating_mul(100);
    let ends = u32::from(range.lower.is_some()) + u32::from(range.upper.is_some());
    equal + ends * 20 + if range.points.is_some() { 90 } else { 0 }
}

/// The range of a key over these columns that a scan's conditions leave.
fn key_range(plan: &ScanPlan, columns: &[usize], unique: bool) -> RangePlan {
    let mut range = RangePlan::default();
    for column in columns {
        let bounds: Vec<(Comparison, Expr)> =
            plan.filter.iter().filter_map(|condition| bound(condition, *column, &plan.relation)).collect();
        if let Some((_, value)) = bounds.iter().find(|(comparison, _)| *comparison == Comparison::Eq) {
            range.equal.push(value.clone());
            continue;
        }
        for (comparison, value) in bounds {
            match comparison {
                Comparison::Gt | Comparison::Ge if range.lower.is_none() => {
                    range.lower = Some((value, comparison == Comparison::Ge));
                }
                Comparison::Lt | Comparison::Le if range.upper.is_none() => {
                    range.upper = Some((value, comparison == Comparison::Le));
                }
                _ => {}
            }
        }
        break;
    }
    range.point = unique && range.equal.len() == columns.len();
    if range.equal.is_empty()
        && range.lower.is_none()
        && range.upper.is_none()
        && let Some(column) = columns.first()
    {
        range.points = plan.filter.iter().find_map(|condition| members(condition, *column, &plan.relation));
    }
    range
}

/// One column of an ORDER BY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) column: usize,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// Whether a scan (perhaps under filters) can give its rows in this order; if so, makes it. `few`: not all
/// rows will be asked for, so that a way through an index is worth more than a sort.
pub(crate) fn order_by_key(node: &mut Node, wanted: &[Order], few: bool) -> bool {
    match node {
        Node::Filter(plan) => {
            Arc::get_mut(plan).is_some_and(|plan| order_by_key(&mut plan.input, wanted, few))
        }
        Node::Scan(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return false };
            if plan.range.points.is_some() {
                return false;
            }
            if let Some(direction) = path_order(&plan.relation, plan.index, plan.range.equal.len(), wanted) {
                (plan.direction, plan.is_ordered) = (direction, true);
                return true;
            }
            if !few || plan.index.is_some() || bound_by(&plan.range) > 0 {
                return false;
            }
            let found = (0..plan.relation.indexes.len())
                .find_map(|at| path_order(&plan.relation, Some(at), 0, wanted).map(|way| (at, way)));
            let Some((at, direction)) = found else { return false };
            (plan.index, plan.direction, plan.is_ordered) = (Some(at), direction, true);
            true
        }
        _ => false,
    }
}

/// The direction in which the table's own tree (or an index), with its first columns bound to one value each,
/// gives rows in the wanted order.
fn path_order(
    relation: &Relation,
    index: Option<usize>,
    bound: usize,
    wanted: &[Order],
) -> Option<storage::Direction> {
    let columns: Vec<Order> = match index {
        None => relation
            .primary_key
            .as_ref()?
            .columns
            .iter()
            .map(|column| Order { column: *column, descending: false, nulls_first: false })
            .collect(),
        Some(at) => relation
            .indexes
            .get(at)?
            .columns
            .iter()
            .map(|column| Order {
                column: column.at,
                descending: column.order.descending,
                nulls_first: column.order.nulls_first,
            })
            .collect(),
    };
    // Columns that the range pins to one value order nothing.
    let (pinned, free) = columns.split_at_checked(bound)?;
    let wanted: Vec<&Order> =
        wanted.iter().filter(|order| !pinned.iter().any(|pin| pin.column == order.column)).collect();
    if wanted.len() > free.len() {
        return None;
    }
    let fits = |backward: bool| {
        wanted.iter().zip(free).all(|(wanted, order)| {
            let nulls = relation.columns.get(order.column).is_some_and(|column| !column.not_null);
            wanted.column == order.column
                && wanted.descending == (order.descending != backward)
                && (!nulls || wanted.nulls_first == (order.nulls_first != backward))
        })
    };
    if fits(false) {
        Some(storage::Direction::Forward)
    } else if fits(true) {
        Some(storage::Direction::Backward)
    } else {
        None
    }
}
