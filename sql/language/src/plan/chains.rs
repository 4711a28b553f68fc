//! The chains of joins between the commas of a FROM clause.

use super::analyzer::Analyzer;
use super::from::FromItem;
use sql_interface::{Result, SqlError};
use sqlparser::ast;
use sqlstate::SqlState;

/// Whether the left side of a RIGHT or FULL join is in a chain.
fn turns(chain: &ast::TableWithJoins) -> bool {
    use ast::JoinOperator as Op;
    chain
        .joins
        .iter()
        .any(|join| matches!(join.join_operator, Op::Right(_) | Op::RightOuter(_) | Op::FullOuter(_)))
}

/// Whether a chain has what may look at tables before it.
fn is_lateral(chain: &ast::TableWithJoins) -> bool {
    let factors = std::iter::once(&chain.relation).chain(chain.joins.iter().map(|join| &join.relation));
    factors.into_iter().any(|factor| match factor {
        ast::TableFactor::Derived { lateral, .. } => *lateral,
        ast::TableFactor::Table { args, .. } => args.is_some(),
        ast::TableFactor::Function { .. } | ast::TableFactor::UNNEST { .. } => true,
        ast::TableFactor::NestedJoin { table_with_joins, .. } => is_lateral(table_with_joins),
        _ => false,
    })
}

/// The chain inside parentheses that mean nothing, since those before them are joined without a condition:
/// what is LATERAL in it sees these.
fn without_parentheses(factor: &ast::TableFactor) -> Option<&ast::TableWithJoins> {
    match factor {
        ast::TableFactor::NestedJoin { table_with_joins, alias: None }
            if is_lateral(table_with_joins) && !turns(table_with_joins) =>
        {
            Some(table_with_joins)
        }
        _ => None,
    }
}

impl Analyzer<'_> {
    /// The whole clause. `emit_keys`: scans of stored tables also give their keys (for row locks).
    pub(crate) fn tables_from(
        &mut self,
        start: FromItem,
        from: &[ast::TableWithJoins],
        emit_keys: bool,
    ) -> Result<FromItem> {
        let mut all = start;
        for chain in from {
            if turns(chain) {
                // The left side of a RIGHT or FULL join must not hold the tables before the comma.
                let first = self.factor(&mut FromItem::unit(), &chain.relation, emit_keys)?;
                let mut item = first;
                for join in &chain.joins {
                    item = self.join(item, join, 0, emit_keys)?;
                }
                all = self.cross(all, item)?;
            } else {
                all = self.chain(all, chain, emit_keys)?;
            }
        }
        Ok(all)
    }

    /// A chain behind a comma.
    fn chain(&mut self, mut all: FromItem, chain: &ast::TableWithJoins, emit_keys: bool) -> Result<FromItem> {
        let chain_start = all.width;
        all = match without_parentheses(&chain.relation).filter(|_| chain_start > 0) {
            Some(inner) => self.nested(|analyzer| analyzer.chain(all, inner, emit_keys))?,
            None => {
                let next = self.factor(&mut all, &chain.relation, emit_keys)?;
                self.cross(all, next)?
            }
        };
        for join in &chain.joins {
            all = self.join(all, join, chain_start, emit_keys)?;
        }
        Ok(all)
    }

    /// A join in parentheses, which sees nothing of what stands before it.
    pub(super) fn nested_join(
        &mut self,
        left: &FromItem,
        chain: &ast::TableWithJoins,
        emit_keys: bool,
    ) -> Result<FromItem> {
        let made = self.tables_from(FromItem::unit(), std::slice::from_ref(chain), emit_keys);
        made.map_err(|error| match error.code() {
            SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN if left.width > 0 && is_lateral(chain) => {
                let what = "a LATERAL reference from inside the parentheses around a join";
                SqlError::unsupported(what).at(error.fields().position)
            }
            _ => error,
        })
    }
}
