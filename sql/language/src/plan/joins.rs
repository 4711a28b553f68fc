//! How each join is carried out: by looking rows up in the right table's primary key or an index of it, or by
//! a hash of the side that is likely to be smaller. There are no statistics; sizes of files and the forms of
//! conditions make the guesses.

use super::node::{JoinKind, JoinPlan, Node, RangePlan, ScanPlan};
use super::predicate::{add_condition, shift_right};
use crate::expr::{Comparison, Expr, Facts, Step};
use sql_interface::Result;
use sql_types::Datum;
use std::sync::Arc;

/// Bytes that a stored row takes, for guessing.
const ROW_BYTES: f64 = 80.0;
/// A lookup costs this many times what a scanned row does.
const LOOKUP_COST: f64 = 8.0;

/// Decides for all joins of a FROM clause whose conditions are in place.
pub(crate) fn settle_joins(node: &mut Node, facts: &dyn Facts) -> Result<()> {
    match node {
        Node::Filter(plan) => match Arc::get_mut(plan) {
            Some(plan) => settle_joins(&mut plan.input, facts),
            None => Ok(()),
        },
        Node::Join(plan) => match Arc::get_mut(plan) {
            Some(plan) => {
                settle_joins(&mut plan.left, facts)?;
                settle_joins(&mut plan.right, facts)?;
                settle(plan, facts)
            }
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn settle(plan: &mut JoinPlan, facts: &dyn Facts) -> Result<()> {
    if plan.lateral || plan.hash_keys.is_empty() {
        return Ok(());
    }
    let (left, right) = (rows(&plan.left, facts), rows(&plan.right, facts));
    if matches!(plan.kind, JoinKind::Inner | JoinKind::Left)
        && left * LOOKUP_COST <= whole_table(&plan.right, facts)
        && let Some(lookup) = lookup_keys(plan)
    {
        return look_up(plan, &lookup);
    }
    plan.build_left = plan.kind == JoinKind::Inner && left * 2.0 < right;
    Ok(())
}

/// A way to look rows of the right side up: the index (None for the primary key), and for each of its first
/// columns the place of the hash key that equals it.
struct Lookup {
    index: Option<usize>,
    keys: Vec<usize>,
    /// One row at most.
    point: bool,
}

/// The primary key or else an index of the right table whose columns have hash keys: all of a unique one, or
/// the first of another. None if there is none, or if the right side is no plain scan.
fn lookup_keys(plan: &JoinPlan) -> Option<Lookup> {
    let Node::Scan(scan) = &plan.right else { return None };
    if scan.range.point || scan.range.points.is_some() {
        return None;
    }
    let place = |column: usize| {
        plan.hash_keys
            .iter()
            .position(|(_, right)| matches!(right, Expr::Column { index, .. } if *index == column))
    };
    if let Some(key) = &scan.relation.primary_key
        && let Some(keys) = key.columns.iter().map(|column| place(*column)).collect::<Option<Vec<_>>>()
    {
        return Some(Lookup { index: None, keys, point: true });
    }
    let lookups = scan.relation.indexes.iter().enumerate().map(|(at, index)| {
        let keys: Vec<usize> = index.columns.iter().map_while(|column| place(column.at)).collect();
        let point = index.unique && keys.len() == index.columns.len();
        Lookup { index: Some(at), keys, point }
    });
    lookups.filter(|lookup| !lookup.keys.is_empty()).max_by_key(|lookup| (lookup.point, lookup.keys.len()))
}

/// Makes the right side a lookup that runs anew for each left row.
fn look_up(plan: &mut JoinPlan, lookup: &Lookup) -> Result<()> {
    let Lookup { index, keys, point } = lookup;
    let Node::Scan(scan) = &mut plan.right else { return Ok(()) };
    let Some(scan) = Arc::get_mut(scan) else { return Ok(()) };
    let mut equal = Vec::with_capacity(keys.len());
    for place in keys {
        if let Some((left, _)) = plan.hash_keys.get(*place) {
            equal.push(as_outer(left.clone())?);
        }
    }
    for condition in &mut scan.filter {
        let before = std::mem::replace(condition, Expr::constant(Datum::Null, condition.ty()));
        *condition = as_enclosed(before)?;
    }
    scan.index = *index;
    scan.range = RangePlan { equal, point: *point, ..RangePlan::default() };
    scan.is_lookup = true;
    for (place, (left, right)) in std::mem::take(&mut plan.hash_keys).into_iter().enumerate() {
        if !keys.contains(&place) {
            let right = Box::new(shift_right(right, plan.left_width)?);
            let equality = Expr::Compare { op: Comparison::Eq, left: Box::new(left), right };
            add_condition(&mut plan.condition, equality);
        }
    }
    plan.lateral = true;
    Ok(())
}

/// An expression over the left row, as the right side of a lateral join sees it.
fn as_outer(expr: Expr) -> Result<Expr> {
    expr.transform(&mut |part| {
        Ok(match part {
            Expr::Column { index, ty } => Step::Done(Expr::Outer { depth: 0, index, ty }),
            Expr::Outer { depth, index, ty } => Step::Done(Expr::Outer { depth: depth + 1, index, ty }),
            other => Step::Into(other),
        })
    })
}

/// An expression of the right side, with one more row around it.
fn as_enclosed(expr: Expr) -> Result<Expr> {
    expr.transform(&mut |part| {
        Ok(match part {
            Expr::Outer { depth, index, ty } => Step::Done(Expr::Outer { depth: depth + 1, index, ty }),
            other => Step::Into(other),
        })
    })
}

/// Rows of a scanned table without its conditions; nothing for what is no scan.
fn whole_table(node: &Node, facts: &dyn Facts) -> f64 {
    match node {
        Node::Scan(plan) => table_rows(plan, facts),
        _ => 0.0,
    }
}

fn table_rows(plan: &ScanPlan, facts: &dyn Facts) -> f64 {
    // The precision of a guess does not suffer from the cast.
    facts.relation_bytes(plan.relation.oid).map_or(1000.0, |bytes| bytes as f64 / ROW_BYTES)
}

/// A guess at the rows that a source gives.
fn rows(node: &Node, facts: &dyn Facts) -> f64 {
    match node {
        Node::Unit | Node::Insert(_) | Node::Update(_) | Node::Delete(_) => 1.0,
        Node::Values(plan) => plan.rows.len() as f64,
        Node::Scan(plan) => {
            let total = table_rows(plan, facts);
            let RangePlan { equal, lower, upper, point, points } = &plan.range;
            let in_range = match points {
                Some(points) => points.len() as f64,
                None if *point => 1.0,
                None if !equal.is_empty() => total / 100.0,
                None if lower.is_some() && upper.is_some() => total / 10.0,
                None if lower.is_some() || upper.is_some() => total / 3.0,
                None if plan.filter.is_empty() => total,
                None => total / 4.0,
            };
            in_range.max(1.0)
        }
        Node::Generated(_) => 200.0,
        Node::Function(_) => 1000.0,
        Node::Filter(plan) => rows(&plan.input, facts) / 3.0,
        Node::Project(plan) => rows(&plan.input, facts),
        Node::ProjectSet(plan) => rows(&plan.input, facts) * 100.0,
        Node::Join(plan) => rows(&plan.left, facts).max(rows(&plan.right, facts)),
        Node::Aggregate(plan) if plan.plain => 1.0,
        Node::Aggregate(plan) => rows(&plan.input, facts) / 10.0,
        Node::Sort(plan) => rows(&plan.input, facts),
        Node::Limit(plan) => match plan.limit.as_ref().and_then(Expr::as_const) {
            Some(Datum::Int8(limit)) => rows(&plan.input, facts).min(*limit as f64),
            _ => rows(&plan.input, facts),
        },
        Node::Distinct(plan) => rows(&plan.input, facts),
        Node::SetOperation(plan) => rows(&plan.left, facts) + rows(&plan.right, facts),
        Node::Lock(plan) => rows(&plan.input, facts),
        Node::Observed(plan) => rows(&plan.input, facts),
    }
}
