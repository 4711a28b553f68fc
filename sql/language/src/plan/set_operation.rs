//! VALUES, and UNION, INTERSECT and EXCEPT: from syntax to nodes.

use super::analyzer::Analyzer;
use super::node::{Node, SetKind, SetOperationPlan, ValuesPlan};
use super::query::{OutputColumn, Select};
use super::select::refuse_locks_in_sets;
use super::tail::Tail;
use crate::expr::{self, Expr};
use sql_interface::{Result, SqlError, stack};
use sql_types::cast::CastContext;
use sql_types::{Type, TypeId};
use sqlparser::ast;
use std::sync::Arc;

impl Analyzer<'_> {
    pub(super) fn values(&mut self, values: &ast::Values) -> Result<Select> {
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut rows = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            if row.content.len() != width {
                return Err(SqlError::syntax("VALUES lists must all be the same length"));
            }
            let compiled: Result<Vec<Expr>> =
                row.content.iter().map(|value| self.compile_in("VALUES", value)).collect();
            rows.push(compiled?);
        }
        let mut columns = Vec::with_capacity(width);
        for at in 0..width {
            let mut column: Vec<&mut Expr> = rows.iter_mut().filter_map(|row| row.get_mut(at)).collect();
            let ty = expr::common_type(&mut column, "VALUES", self)?;
            columns.push(OutputColumn { name: format!("column{}", at + 1), ty, origin: None });
        }
        let deferred = self.take_deferred();
        Ok(Select { node: Node::Values(Arc::new(ValuesPlan { rows, deferred })), columns })
    }

    /// A chain of set operations, which nests to the left: walked without recursion.
    pub(super) fn set_operations(&mut self, body: &ast::SetExpr) -> Result<Select> {
        let mut chain = Vec::new();
        let mut first = body;
        while let ast::SetExpr::SetOperation { left, op, set_quantifier, right } = first {
            chain.push((*op, *set_quantifier, right));
            first = left;
        }
        stack::check_levels(chain.len())?;
        let mut result = self.set_branch(first)?;
        for (op, quantifier, right) in chain.into_iter().rev() {
            let right = self.set_branch(right)?;
            result = self.set_operation(result, op, quantifier, right)?;
        }
        Ok(result)
    }

    /// One of the queries that a set operation joins. None of them locks rows.
    fn set_branch(&mut self, body: &ast::SetExpr) -> Result<Select> {
        let mut inner = body;
        while let ast::SetExpr::Query(query) = inner {
            refuse_locks_in_sets(&query.locks)?;
            inner = &query.body;
        }
        let nothing = Tail { order_by: &[], limit: None, offset: None, locks: &[] };
        self.sibling(|analyzer| analyzer.body(body, &nothing))
    }

    pub(super) fn set_operation(
        &mut self,
        mut left: Select,
        op: ast::SetOperator,
        quantifier: ast::SetQuantifier,
        mut right: Select,
    ) -> Result<Select> {
        let (kind, word) = match op {
            ast::SetOperator::Union => (SetKind::Union, "UNION"),
            ast::SetOperator::Intersect => (SetKind::Intersect, "INTERSECT"),
            ast::SetOperator::Except | ast::SetOperator::Minus => (SetKind::Except, "EXCEPT"),
        };
        let all = match quantifier {
            ast::SetQuantifier::All => true,
            ast::SetQuantifier::Distinct | ast::SetQuantifier::None => false,
            _ => return Err(SqlError::unsupported(format!("{word} BY NAME"))),
        };
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::syntax(format!("each {word} query must have the same number of columns")));
        }
        // The common type of each pair of columns, found on stand-ins and then asked of both sides.
        let mut types = Vec::with_capacity(left.columns.len());
        for (a, b) in left.columns.iter().zip(&right.columns) {
            let mut one = Expr::Column { index: 0, ty: a.ty };
            let mut two = Expr::Column { index: 1, ty: b.ty };
            types.push(match (a.ty.id, b.ty.id) {
                (TypeId::Unknown, TypeId::Unknown) => Type::of(TypeId::Text),
                // A literal has no modifier, so that the common type has none.
                (TypeId::Unknown, id) | (id, TypeId::Unknown) => Type::of(id),
                _ => expr::common_type(&mut [&mut one, &mut two], word, self)?,
            });
        }
        for side in [&mut left, &mut right] {
            side.map_outputs(|at, expr| {
                let ty = types.get(at).copied().unwrap_or(expr.ty());
                if expr.ty() == ty { Ok(expr) } else { expr::coerce(expr, ty, CastContext::Implicit, self) }
            })?;
        }
        let columns = left
            .columns
            .into_iter()
            .zip(types)
            .map(|(column, ty)| OutputColumn { ty, origin: None, ..column })
            .collect();
        let plan = SetOperationPlan { kind, all, left: left.node, right: right.node };
        Ok(Select { node: Node::SetOperation(Arc::new(plan)), columns })
    }
}
