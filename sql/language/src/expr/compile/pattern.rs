//! LIKE, ILIKE and SIMILAR TO.

use super::operator::named_operator;
use super::{Compiler, named_call, unsupported};
use crate::expr::node::Expr;
use sql_interface::Result;
use sqlparser::ast::Expr as Ast;

impl Compiler<'_> {
    pub(super) fn pattern(&mut self, ast: &Ast) -> Result<Expr> {
        match ast {
            Ast::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), if *negated { "!~~" } else { "~~" })
            }
            Ast::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), if *negated { "!~~*" } else { "~~*" })
            }
            Ast::SimilarTo { negated, expr, pattern, escape_char } => {
                self.similar(expr, pattern, escape_char.as_deref(), if *negated { "!~" } else { "~" })
            }
            other => Err(unsupported(&format!("the pattern of {other}"))),
        }
    }

    fn like(&mut self, expr: &Ast, pattern: &Ast, escape: Option<&Ast>, name: &str) -> Result<Expr> {
        let tested = self.expr(expr)?;
        let mut pattern = self.expr(pattern)?;
        if let Some(escape) = escape {
            self.require_own_schema()?;
            let escape = self.expr(escape)?;
            pattern = named_call("like_escape", vec![pattern, escape], self.scope)?;
        }
        Ok(named_operator(name, tested, pattern, self.scope)?.fold_here())
    }

    /// SIMILAR TO: a match of the regular expression that the pattern becomes.
    fn similar(&mut self, expr: &Ast, pattern: &Ast, escape: Option<&Ast>, name: &str) -> Result<Expr> {
        self.require_own_schema()?;
        let tested = self.expr(expr)?;
        let mut arguments = vec![self.expr(pattern)?];
        if let Some(escape) = escape {
            arguments.push(self.expr(escape)?);
        }
        let pattern = named_call("similar_to_escape", arguments, self.scope)?;
        Ok(named_operator(name, tested, pattern, self.scope)?.fold_here())
    }
}
