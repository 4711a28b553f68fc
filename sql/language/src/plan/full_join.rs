//! FULL joins that PostgreSQL refuses: those by nothing that can be merged or hashed. They could be carried
//! out here, but what runs here runs there.

use super::node::{JoinKind, Node};
use super::parts::Part;
use super::predicate::is_rowless;
use crate::expr::{Comparison, Expr};
use sql_interface::{Result, SqlError};
use sqlstate::SqlState;

/// Whether a FULL join by these conditions, none of which is an equality that can be hashed here, is surely
/// refused. `left_width`: where the right side's columns begin.
pub(super) fn is_refused(conditions: &[Expr], left_width: usize) -> bool {
    let mut some = false;
    for condition in conditions.iter().filter(|condition| !matches!(condition, Expr::Const(..))) {
        match condition {
            Expr::Compare { op: Comparison::Eq, left, right } if may_be_merged(left, right, left_width) => {
                return false;
            }
            Expr::Compare { .. } | Expr::Or(_) | Expr::Column { .. } | Expr::Deferred { .. } => some = true,
            Expr::IsNull { .. } | Expr::IsTruth { .. } | Expr::Distinct { .. } | Expr::Quantified { .. } => {
                some = true;
            }
            Expr::In { list, .. } if list.len() > 1 => some = true,
            // It may be an equality in other words.
            _ => return false,
        }
    }
    some
}

/// Whether each side of an equality is of one side of the join, as far as its columns tell.
fn may_be_merged(one: &Expr, other: &Expr, left_width: usize) -> bool {
    let sides = |expr: &Expr| {
        let (mut left, mut right, mut waits) = (false, false, false);
        expr.walk(&mut |part| {
            match part {
                Expr::Column { index, .. } if *index < left_width => left = true,
                Expr::Column { .. } => right = true,
                Expr::Deferred { .. } => waits = true,
                _ => {}
            }
            true
        });
        (left, right, waits)
    };
    let ((left, right, waits), (others_left, others_right, other_waits)) = (sides(one), sides(other));
    waits
        || other_waits
        || (left && !right && others_right && !others_left)
        || (right && !left && others_left && !others_right)
}

/// 0A000 if a plan has a refused join with nothing above it that may make another of it, as a condition does
/// which rows without a partner do not meet.
pub(super) fn check(node: &Node) -> Result<()> {
    let mut found = false;
    look(node, false, &mut found);
    if !found {
        return Ok(());
    }
    let message = "FULL JOIN is only supported with merge-joinable or hash-joinable join conditions";
    Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
}

fn look(node: &Node, mut conditioned: bool, found: &mut bool) {
    match node {
        Node::Join(plan) => {
            *found |= plan.refused && !conditioned;
            conditioned |= plan.kind != JoinKind::Full
                && (plan.lateral
                    || !plan.hash_keys.is_empty()
                    || plan.condition.as_ref().is_some_and(|condition| !is_rowless(condition)));
        }
        Node::Filter(_) => conditioned = true,
        _ => {}
    }
    node.parts(&mut |part| {
        if let Part::Deferred(values) = part {
            values.iter().filter_map(|value| value.source.node()).for_each(|node| look(node, false, found));
        }
    });
    node.inputs().for_each(|input| look(input, conditioned, found));
}
