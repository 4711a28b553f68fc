//! What a plan needs when it runs: stack for the operators and expressions that lie on top of each other, and
//! memory for the rows that its joins hold.

use super::BATCH;
use super::node::{DeferredSource, DeferredValue, DeferredValues, Node};
use super::parts::Part;
use crate::expr::Expr;
use sql_interface::{Result, SqlError, stack};
use sqlstate::SqlState;
use std::collections::HashSet;
use std::sync::Arc;

/// What an operator takes with the future of its step, in bytes.
const NODE_BYTES: usize = if cfg!(debug_assertions) { 24 << 10 } else { 6 << 10 };

/// What computing a subquery takes beside its operators, in operators.
const SUBQUERY_NODES: usize = 4;

/// What a level of an expression takes, in bytes.
const EXPR_BYTES: usize = if cfg!(debug_assertions) { 4 << 10 } else { 1 << 10 };

/// What is always there, in bytes: on any stack, or above all else on a tall one.
const BASE_BYTES: usize = 512 << 10;

/// Operators and levels of expressions that run on any stack.
const SHALLOW_NODES: usize = 40;

/// Values in the rows that the joins of one plan hold, if each holds one row: about 50 MB. The row of a join
/// is as wide as all that it joins.
const JOINED_VALUES_MAX: usize = 2 << 20;

/// What running a plan takes.
pub(super) struct Needs {
    /// The stack, in bytes; 0 if any will do.
    pub(super) stack_bytes: usize,
    /// Rows that each of its joins may give at once.
    pub(super) join_rows: usize,
}

impl Default for Needs {
    /// What any small plan takes.
    fn default() -> Self {
        Self { stack_bytes: 0, join_rows: BATCH }
    }
}

/// What running a plan takes; 54001 if that is too much.
pub(super) fn needs(node: &Node) -> Result<Needs> {
    let mut depth = Depth::default();
    depth.node(node, 1);
    if depth.joined_values > JOINED_VALUES_MAX {
        return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement is too complex")
            .with_detail("The rows of its joins have too many columns.")
            .with_hint("Join subqueries that select the columns that are needed."));
    }
    let join_rows = (JOINED_VALUES_MAX / 2).checked_div(depth.joined_values).unwrap_or(BATCH).clamp(1, BATCH);
    if depth.nodes <= SHALLOW_NODES && depth.levels <= stack::SHALLOW_LEVELS {
        return Ok(Needs { stack_bytes: 0, join_rows });
    }
    let stack_bytes = depth.nodes * NODE_BYTES + depth.levels * EXPR_BYTES + BASE_BYTES;
    if stack_bytes > stack::run_bytes_max() {
        return Err(stack::exceeded());
    }
    Ok(Needs { stack_bytes, join_rows })
}

/// The most operators on top of each other, and the most levels of any expression.
#[derive(Default)]
struct Depth {
    nodes: usize,
    levels: usize,
    /// Values in a row of each join.
    joined_values: usize,
    seen: HashSet<(*const Vec<DeferredValue>, usize)>,
}

impl Depth {
    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        for expr in exprs {
            self.levels = self.levels.max(expr.levels());
        }
    }

    fn deferred(&mut self, deferred: &DeferredValues, at: usize) {
        // Several operators may share them, and so on at each level.
        if deferred.is_empty() || !self.seen.insert((Arc::as_ptr(deferred), at)) {
            return;
        }
        let at = at + SUBQUERY_NODES;
        for slot in deferred.iter() {
            match &slot.source {
                DeferredSource::Scalar(node)
                | DeferredSource::Array(node, _)
                | DeferredSource::Exists(node) => {
                    self.node(node, at + 1);
                }
                DeferredSource::Quantified { left, node, matches, .. }
                | DeferredSource::Partner { left, node, matches, .. } => {
                    self.exprs(left.iter().chain([matches]));
                    self.node(node, at + 1);
                }
                DeferredSource::Call { arguments, .. } | DeferredSource::Sequence { arguments, .. } => {
                    self.exprs(arguments);
                }
            }
        }
    }

    fn node(&mut self, node: &Node, at: usize) {
        self.nodes = self.nodes.max(at);
        if let Node::Join(plan) = node {
            self.joined_values += plan.left_width + plan.right_width;
        }
        node.parts(&mut |part| match part {
            Part::Expr(expr) => self.exprs([expr]),
            Part::Deferred(deferred) => self.deferred(deferred, at),
        });
        for input in node.inputs() {
            self.node(input, at + 1);
        }
    }
}
