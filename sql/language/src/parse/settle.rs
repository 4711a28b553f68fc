//! What is done to each tree that the parser has made: chains are made flat, and what is too deep is refused.

use super::walk::{Walk, walk};
use sql_interface::{Result, stack};
use sqlparser::ast::{BinaryOperator, Expr, Query, SetExpr, Value, VisitMut};
use std::ops::ControlFlow;

/// Chains of AND and OR up to this length stay as the parser made them: one level each.
const CHAIN_MAX: usize = 64;

/// Balances chains of AND and OR, of which one as long as its text is no deep statement, and refuses what is
/// deeper than what later follows the tree has stack for (54001). `tokens`: of the text that the tree was
/// made from.
pub(super) fn settle<T: VisitMut>(mut tree: T, tokens: usize) -> Result<T> {
    if tokens <= stack::SHALLOW_TOKENS {
        return Ok(tree);
    }
    let mut settling = Settling { levels: 0, levels_max: stack::levels_max(), spines: Vec::new() };
    match walk(&mut tree, &mut settling) {
        ControlFlow::Continue(()) => Ok(tree),
        ControlFlow::Break(()) => Err(stack::exceeded()),
    }
}

struct Settling {
    levels: usize,
    levels_max: usize,
    /// For each query around: how many levels its body has.
    spines: Vec<usize>,
}

impl Settling {
    fn enter(&mut self, levels: usize) -> ControlFlow<()> {
        self.levels += levels;
        if self.levels > self.levels_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Walk for Settling {
    fn enter_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let mut levels = 1;
        let mut body = &*query.body;
        while let SetExpr::SetOperation { left, .. } = body {
            levels += 1;
            body = left;
        }
        self.spines.push(levels);
        self.enter(levels)
    }

    fn leave_query(&mut self) {
        self.levels -= self.spines.pop().unwrap_or(0);
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        balance(expr);
        self.enter(1)
    }

    fn leave_expr(&mut self) {
        self.levels -= 1;
    }
}

/// Makes a long chain of ANDs (or ORs) a tree of as few levels as its operands allow.
fn balance(expr: &mut Expr) {
    let Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } = expr else { return };
    let chain = op.clone();
    let mut length = 0;
    let mut next = &*expr;
    while let Expr::BinaryOp { left, op, .. } = next
        && *op == chain
    {
        length += 1;
        next = left;
    }
    if length <= CHAIN_MAX {
        return;
    }
    let mut operands = Vec::with_capacity(length + 1);
    let mut rest = vec![std::mem::replace(expr, Expr::value(Value::Null))];
    while let Some(next) = rest.pop() {
        match next {
            Expr::BinaryOp { left, op, right } if op == chain => rest.extend([*right, *left]),
            operand => operands.push(operand),
        }
    }
    let take = |operand: &mut Expr| Box::new(std::mem::replace(operand, Expr::value(Value::Null)));
    while operands.len() > 1 {
        // Pairs go where their first halves were looked at already.
        let pairs = operands.len().div_ceil(2);
        for at in 0..pairs {
            let pair = match operands.get_mut(2 * at..) {
                Some([left, right, ..]) => {
                    Expr::BinaryOp { left: take(left), op: chain.clone(), right: take(right) }
                }
                Some([last]) => std::mem::replace(last, Expr::value(Value::Null)),
                _ => break,
            };
            if let Some(place) = operands.get_mut(at) {
                *place = pair;
            }
        }
        operands.truncate(pairs);
    }
    if let Some(balanced) = operands.pop() {
        *expr = balanced;
    }
}
