//! Statements on one row by its primary key, recognised in finished plans: they run without operators.
//!
//! `SELECT ... WHERE key = ...`, `UPDATE ... WHERE key = ...`, `DELETE ... WHERE key = ...` and `INSERT` of
//! one row, with or without ON CONFLICT; none with RETURNING or subqueries.

use super::node::{ConflictAction, ConflictPlan, ModifiedTable, Node, RangePlan, ScanPlan};
use crate::expr::Expr;
use sql_catalogue::Relation;
use std::sync::Arc;

/// A statement on one row.
#[derive(Debug)]
pub enum Direct {
    /// SELECT
    Get(DirectGet),
    /// INSERT
    Insert(DirectInsert),
    /// UPDATE
    Update(DirectUpdate),
    /// DELETE
    Delete(DirectDelete),
}

/// SELECT of one row.
#[derive(Debug)]
pub struct DirectGet {
    /// The table.
    pub relation: Arc<Relation>,
    /// Values of the key columns.
    pub key: Vec<Expr>,
    /// Where each output comes from.
    pub outputs: Vec<Output>,
    /// Places of the columns that outputs by expression look at; empty if there are none.
    pub needed: Vec<usize>,
}

/// Where an output of [`DirectGet`] comes from.
#[derive(Debug)]
pub enum Output {
    /// A column that the row holds: its place there, and in the table.
    Row {
        /// In the stored row.
        place: usize,
        /// Among the table's columns.
        column: usize,
    },
    /// A column that only the key holds: the key's value is the statement's own.
    Key(usize),
    /// Anything else, over the row.
    Expr(Expr),
}

/// INSERT of one row.
#[derive(Debug)]
pub struct DirectInsert {
    /// What the statement does.
    pub plan: Arc<super::node::InsertPlan>,
    /// The new row's values, evaluated over nothing.
    pub values: Vec<Expr>,
}

/// UPDATE of one row.
#[derive(Debug)]
pub struct DirectUpdate {
    /// What the statement does.
    pub plan: Arc<super::node::UpdatePlan>,
    /// Values of the key columns.
    pub key: Vec<Expr>,
    /// All live columns.
    pub needed: Vec<usize>,
}

/// DELETE of one row.
#[derive(Debug)]
pub struct DirectDelete {
    /// What the statement does.
    pub plan: Arc<super::node::DeletePlan>,
    /// Values of the key columns.
    pub key: Vec<Expr>,
}

/// The direct form of a plan; None if it has none.
pub(crate) fn recognise(node: &Node) -> Option<Direct> {
    match node {
        Node::Project(plan) if plan.deferred.is_empty() => {
            let Node::Scan(scan) = &plan.input else { return None };
            let key = exact_key(scan)?;
            if scan.emit_key {
                return None;
            }
            let outputs: Vec<Output> = plan.exprs.iter().map(|expr| output(&scan.relation, expr)).collect();
            let mut needed = Vec::new();
            for output in &outputs {
                if let Output::Expr(expr) = output {
                    expr.walk(&mut |part| {
                        if let Expr::Column { index, .. } = part
                            && !needed.contains(index)
                        {
                            needed.push(*index);
                        }
                        true
                    });
                }
            }
            Some(Direct::Get(DirectGet { relation: scan.relation.clone(), key, outputs, needed }))
        }
        Node::Insert(plan) => {
            let plain = plan.returning.is_none() && plan.target.relation.primary_key.is_some();
            let Node::Values(values) = &plan.input else { return None };
            let ([row], true, true) = (values.rows.as_slice(), plain, values.deferred.is_empty()) else {
                return None;
            };
            if let Some(ConflictPlan { action: ConflictAction::Update { deferred, .. }, .. }) = &plan.conflict
                && !deferred.is_empty()
            {
                return None;
            }
            let values = plan
                .values
                .iter()
                .map(|value| match value {
                    Expr::Column { index, .. } => row.get(*index).cloned(),
                    other => Some(other.clone()),
                })
                .collect::<Option<Vec<Expr>>>()?;
            Some(Direct::Insert(DirectInsert { plan: plan.clone(), values }))
        }
        Node::Update(plan) => {
            let Node::Scan(scan) = &plan.input else { return None };
            let key = exact_key(scan)?;
            if plan.moves
                || plan.returning.is_some()
                || !plan.deferred.is_empty()
                || !is_whole_row(&plan.target, scan)
            {
                return None;
            }
            let needed = plan.target.relation.live_columns().map(|(at, _)| at).collect();
            Some(Direct::Update(DirectUpdate { plan: plan.clone(), key, needed }))
        }
        Node::Delete(plan) => {
            let Node::Scan(scan) = &plan.input else { return None };
            let key = exact_key(scan)?;
            if plan.returning.is_some() || !is_whole_row(&plan.target, scan) {
                return None;
            }
            Some(Direct::Delete(DirectDelete { plan: plan.clone(), key }))
        }
        _ => None,
    }
}

/// Whether the scan is of the table that is changed.
fn is_whole_row(target: &ModifiedTable, scan: &ScanPlan) -> bool {
    target.relation.oid == scan.relation.oid
}

/// The key's values, if the scan asks for one key and for nothing else.
fn exact_key(scan: &ScanPlan) -> Option<Vec<Expr>> {
    let RangePlan { equal, point, .. } = &scan.range;
    (*point && scan.index.is_none() && scan.filter.len() == equal.len()).then(|| equal.clone())
}

fn output(relation: &Relation, expr: &Expr) -> Output {
    let Expr::Column { index, .. } = expr else { return Output::Expr(expr.clone()) };
    match (relation.layout.in_row.get(*index), relation.layout.in_key.get(*index)) {
        (Some(Some(place)), _) => Output::Row { place: *place, column: *index },
        (_, Some(Some(place))) => Output::Key(*place),
        _ => Output::Expr(expr.clone()),
    }
}
