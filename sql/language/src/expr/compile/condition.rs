//! Conditions, and what may not stand in them.

use super::operator::named_operator;
use super::{Ast, Compiler};
use crate::expr::coerce;
use crate::expr::node::Expr;
use crate::parse::SYMMETRIC;
use sql_interface::{Result, SqlError};
use sql_types::TypeId;
use sqlstate::SqlState;

impl Compiler<'_> {
    /// A condition, 42804 if it is none; `context` is the word for the message.
    pub(super) fn condition(&mut self, ast: &Ast, context: &str) -> Result<Expr> {
        let sets = self.scope.set_calls();
        let compiled = self.expr(ast)?;
        let condition = coerce::condition(compiled, context, self.scope)?;
        self.refuse_sets(sets, context)?;
        Ok(condition)
    }

    /// `expr [NOT] BETWEEN [SYMMETRIC] low AND high`
    pub(super) fn between(&mut self, expr: &Ast, negated: bool, low: &Ast, high: &Ast) -> Result<Expr> {
        let (low, symmetric) = match low {
            Ast::Prefixed { prefix, value } if prefix.value == SYMMETRIC => (&**value, true),
            low => (low, false),
        };
        let sets = self.scope.set_calls();
        let tested = self.expr(expr)?;
        let (low, high) = (self.expr(low)?, self.expr(high)?);
        self.refuse_sets(sets, if negated { "OR" } else { "AND" })?;
        if !symmetric {
            return self.within(tested, low, high, negated);
        }
        let (tested_again, low_again, high_again) =
            (self.again(&tested)?, self.again(&low)?, self.again(&high)?);
        let parts = vec![
            self.within(tested, low, high, negated)?,
            self.within(tested_again, high_again, low_again, negated)?,
        ];
        Ok(if negated { Expr::And(parts) } else { Expr::Or(parts) }.fold_here())
    }

    /// `tested [NOT] BETWEEN low AND high`
    fn within(&mut self, tested: Expr, low: Expr, high: Expr, negated: bool) -> Result<Expr> {
        let (low_op, high_op) = if negated { ("<", ">") } else { (">=", "<=") };
        let again = self.again(&tested)?;
        let low = named_operator(low_op, again, low, self.scope)?.fold_here();
        // The first comparison may have said what a parameter is.
        let (tested, high) = (self.as_determined(tested)?, self.as_determined(high)?);
        let high = named_operator(high_op, tested, high, self.scope)?.fold_here();
        let parts = vec![low, high];
        Ok(if negated { Expr::Or(parts) } else { Expr::And(parts) }.fold_here())
    }

    /// A parameter by the type that it has been given since.
    fn as_determined(&mut self, expr: Expr) -> Result<Expr> {
        match expr {
            Expr::Param { index, ty } if ty.id == TypeId::Unknown => self.scope.parameter(index + 1),
            other => Ok(other),
        }
    }

    /// 42804 where a condition has called a function that returns a set; `before`: the calls before it.
    pub(super) fn refuse_sets(&self, before: usize, context: &str) -> Result<()> {
        if self.scope.set_calls() == before {
            return Ok(());
        }
        let message = format!("argument of {context} must not return a set");
        Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message))
    }

    /// 0A000 where what may not be computed has called a function that returns a set.
    pub(super) fn refuse_conditional_sets(&self, before: usize, context: &str) -> Result<()> {
        if self.scope.set_calls() == before {
            return Ok(());
        }
        let message = format!("set-returning functions are not allowed in {context}");
        Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
            .with_hint("You might be able to move the set-returning function into a LATERAL FROM item."))
    }
}
