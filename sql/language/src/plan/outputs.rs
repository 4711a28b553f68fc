//! What a query gives, made of other types than it was written with.

use super::analyzer::Analyzer;
use super::node::{DeferredValues, Node, ProjectPlan, null};
use super::query::Select;
use crate::expr::{self, Expr};
use sql_interface::Result;
use sql_types::cast::CastContext;
use sql_types::{Type, TypeId};
use std::sync::Arc;

impl Select {
    pub(crate) fn types(&self) -> Vec<Type> {
        self.columns.iter().map(|column| column.ty).collect()
    }

    /// Changes the output expressions: in place where the query ends in a projection, else in one more.
    pub(crate) fn map_outputs(&mut self, mut change: impl FnMut(usize, Expr) -> Result<Expr>) -> Result<()> {
        for (at, column) in self.columns.iter_mut().enumerate() {
            if column.ty.id == TypeId::Unknown
                && let Some(settled) = settle_parameter(&mut self.node, at, &mut |expr| change(at, expr))?
            {
                column.ty = settled;
            }
        }
        if let Node::Project(plan) = &mut self.node
            && let Some(plan) = Arc::get_mut(plan)
            && plan.exprs.len() == self.columns.len()
        {
            for (at, expr) in plan.exprs.iter_mut().enumerate() {
                let before = std::mem::replace(expr, null(Type::of(TypeId::Unknown)));
                *expr = change(at, before)?;
            }
            for (column, expr) in self.columns.iter_mut().zip(&plan.exprs) {
                column.ty = expr.ty();
            }
            return Ok(());
        }
        let mut exprs = Vec::with_capacity(self.columns.len());
        let mut same = true;
        for (index, column) in self.columns.iter().enumerate() {
            let plain = Expr::Column { index, ty: column.ty };
            let changed = change(index, plain.clone())?;
            same &= changed == plain;
            exprs.push(changed);
        }
        if same {
            return Ok(());
        }
        for (column, expr) in self.columns.iter_mut().zip(&exprs) {
            column.ty = expr.ty();
        }
        let input = std::mem::replace(&mut self.node, Node::Unit);
        self.node =
            Node::Project(Arc::new(ProjectPlan { input, exprs, deferred: DeferredValues::default() }));
        Ok(())
    }

    /// Outputs of unknown type (literals, parameters) become text.
    pub(crate) fn settle_unknowns(&mut self, analyzer: &mut Analyzer<'_>) -> Result<()> {
        if self.columns.iter().all(|column| column.ty.id != TypeId::Unknown) {
            return Ok(());
        }
        self.map_outputs(|_, expr| {
            if expr.ty().id == TypeId::Unknown {
                expr::coerce(expr, Type::of(TypeId::Text), CastContext::Implicit, analyzer)
            } else {
                Ok(expr)
            }
        })
    }
}

/// A parameter whose type is not known yet.
pub(super) fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Param { ty, .. } if ty.id == TypeId::Unknown)
}

/// Changes such a parameter where it stands below LIMIT, ORDER BY and DISTINCT, which do not look at it: what
/// is above would be too late to give it a type. Its new type, if the output at this place is one.
fn settle_parameter(
    node: &mut Node,
    at: usize,
    change: &mut dyn FnMut(Expr) -> Result<Expr>,
) -> Result<Option<Type>> {
    let below = match node {
        Node::Limit(plan) => Arc::get_mut(plan).map(|plan| &mut plan.input),
        Node::Sort(plan) => Arc::get_mut(plan).map(|plan| &mut plan.input),
        Node::Distinct(plan) => Arc::get_mut(plan).map(|plan| &mut plan.input),
        Node::Project(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return Ok(None) };
            let settled = match plan.exprs.get_mut(at) {
                Some(Expr::Column { index, ty }) if ty.id == TypeId::Unknown => {
                    let settled = settle_parameter(&mut plan.input, *index, change)?;
                    *ty = settled.unwrap_or(*ty);
                    settled
                }
                Some(expr) if is_open(expr) => {
                    *expr = change(expr.clone())?;
                    Some(expr.ty())
                }
                _ => None,
            };
            return Ok(settled);
        }
        _ => None,
    };
    below.map_or(Ok(None), |below| settle_parameter(below, at, change))
}
