//! What stands behind a query's body.

use sql_interface::{Result, SqlError};
use sqlparser::ast;
use std::sync::LazyLock;

/// How many rows FETCH gives that does not say.
static ONE: LazyLock<ast::Expr> =
    LazyLock::new(|| ast::Expr::Value(ast::Value::Number("1".to_owned(), false).into()));

/// ORDER BY, LIMIT, OFFSET and FOR UPDATE around a query's body.
pub(super) struct Tail<'q> {
    pub(super) order_by: &'q [ast::OrderByExpr],
    pub(super) limit: Option<&'q ast::Expr>,
    pub(super) offset: Option<&'q ast::Expr>,
    pub(super) locks: &'q [ast::LockClause],
}

impl<'q> Tail<'q> {
    /// Of a query, without what stands around it.
    pub(super) fn of(query: &'q ast::Query) -> Result<Self> {
        let order_by: &[ast::OrderByExpr] = match query.order_by.as_ref().map(|order| &order.kind) {
            None => &[],
            Some(ast::OrderByKind::Expressions(list)) => list,
            Some(ast::OrderByKind::All(_)) => return Err(SqlError::unsupported("ORDER BY ALL")),
        };
        let (mut limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(_) => {
                return Err(SqlError::syntax("LIMIT #,# syntax is not supported")
                    .with_hint("Use separate LIMIT and OFFSET clauses."));
            }
        };
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties || fetch.percent {
                return Err(SqlError::unsupported("FETCH ... WITH TIES"));
            }
            if limit.is_some() {
                return Err(SqlError::syntax("syntax error at or near \"FETCH\""));
            }
            // FETCH FIRST ROW ONLY
            limit = Some(fetch.quantity.as_ref().unwrap_or(&ONE));
        }
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return Err(SqlError::unsupported("this clause of a query"));
        }
        Ok(Self { order_by, limit, offset, locks: &query.locks })
    }

    /// This one, which stands behind parentheses, with what the query inside them ends in.
    pub(super) fn around(self, inner: Self) -> Result<Self> {
        let one_of = |outer: bool, inner: bool, what: &str| match outer && inner {
            true => Err(SqlError::syntax(format!("multiple {what} clauses not allowed"))),
            false => Ok(()),
        };
        one_of(!self.order_by.is_empty(), !inner.order_by.is_empty(), "ORDER BY")?;
        one_of(self.offset.is_some(), inner.offset.is_some(), "OFFSET")?;
        one_of(self.limit.is_some(), inner.limit.is_some(), "LIMIT")?;
        if !self.locks.is_empty() && !inner.locks.is_empty() {
            return Err(SqlError::unsupported("FOR UPDATE inside and behind the parentheses of a query"));
        }
        let longer = |outer: &'q [ast::LockClause], inner| if outer.is_empty() { inner } else { outer };
        Ok(Self {
            order_by: if self.order_by.is_empty() { inner.order_by } else { self.order_by },
            limit: self.limit.or(inner.limit),
            offset: self.offset.or(inner.offset),
            locks: longer(self.locks, inner.locks),
        })
    }
}
