//! What row locks look at again: the conditions of joins, beside that of WHERE.

use super::from::FromItem;
use super::node::{DeferredValues, JoinCheck, JoinKind, Node};
use super::predicate;
use crate::expr::Expr;
use sql_interface::{Result, SqlError};

/// Those of a new join's both sides, over its row. No row of a side that may be missing can be locked: what
/// is asked of that side alone stays true.
pub(super) fn of_both(
    mut left: Vec<JoinCheck>,
    right: Vec<JoinCheck>,
    kind: JoinKind,
    left_width: usize,
) -> Result<Vec<JoinCheck>> {
    if matches!(kind, JoinKind::Right | JoinKind::Full) {
        left.clear();
    }
    if matches!(kind, JoinKind::Inner | JoinKind::Right) {
        for JoinCheck { condition, missing } in right {
            left.push(JoinCheck {
                condition: predicate::shift_right(condition, left_width)?,
                missing: missing.map(|columns| columns.start + left_width..columns.end + left_width),
            });
        }
    }
    Ok(left)
}

impl FromItem {
    /// Keeps a condition of this join, which is the last one.
    pub(super) fn check(&mut self, condition: &Expr, deferred: &DeferredValues) -> Result<()> {
        let Node::Join(plan) = &self.node else {
            return Err(SqlError::internal("a join without a join node"));
        };
        let missing = match plan.kind {
            JoinKind::Inner => None,
            JoinKind::Left => Some(plan.left_width..self.width),
            JoinKind::Right => Some(0..plan.left_width),
            // No row of either side can be locked.
            JoinKind::Full => return Ok(()),
        };
        if !deferred.is_empty() {
            return Err(SqlError::unsupported("FOR UPDATE with a subquery in the condition of a join"));
        }
        self.checks.push(JoinCheck { condition: condition.clone(), missing });
        Ok(())
    }
}
