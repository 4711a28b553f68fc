//! The parts of a node, in one place for all who follow a plan: the nodes that it reads, its expressions, and
//! its deferred values.

use super::node::{ConflictAction, ConflictPlan, DeferredValues, ModifiedTable, Node, Returning, ScanPlan};
use crate::expr::Expr;

/// What a node computes by itself, without the nodes that it reads.
pub(super) enum Part<'n> {
    Expr(&'n Expr),
    Deferred(&'n DeferredValues),
}

impl Node {
    /// The nodes that it reads, in order: none, one or two.
    pub fn inputs(&self) -> impl Iterator<Item = &Self> {
        let (first, second) = match self {
            Self::Unit | Self::Values(_) | Self::Scan(_) | Self::Generated(_) | Self::Function(_) => {
                (None, None)
            }
            Self::Filter(plan) => (Some(&plan.input), None),
            Self::Project(plan) => (Some(&plan.input), None),
            Self::ProjectSet(plan) => (Some(&plan.input), None),
            Self::Join(plan) => (Some(&plan.left), Some(&plan.right)),
            Self::Aggregate(plan) => (Some(&plan.input), None),
            Self::Sort(plan) => (Some(&plan.input), None),
            Self::Limit(plan) => (Some(&plan.input), None),
            Self::Distinct(plan) => (Some(&plan.input), None),
            Self::SetOperation(plan) => (Some(&plan.left), Some(&plan.right)),
            Self::Lock(plan) => (Some(&plan.input), None),
            Self::Insert(plan) => (Some(&plan.input), None),
            Self::Update(plan) => (Some(&plan.input), None),
            Self::Delete(plan) => (Some(&plan.input), None),
            Self::Observed(plan) => (Some(&plan.input), None),
        };
        first.into_iter().chain(second)
    }

    /// Visits what it computes by itself.
    pub(super) fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        let mut parts = Parts(visit);
        match self {
            Self::Unit
            | Self::Generated(_)
            | Self::Distinct(_)
            | Self::SetOperation(_)
            | Self::Observed(_) => {}
            Self::Values(plan) => {
                parts.exprs(plan.rows.iter().flatten());
                parts.deferred(&plan.deferred);
            }
            Self::Scan(plan) => parts.exprs(scan_exprs(plan)),
            Self::Function(plan) => {
                parts.exprs(&plan.call.arguments);
                parts.deferred(&plan.deferred);
            }
            Self::Filter(plan) => {
                parts.exprs([&plan.condition]);
                parts.deferred(&plan.deferred);
            }
            Self::Project(plan) => {
                parts.exprs(&plan.exprs);
                parts.deferred(&plan.deferred);
            }
            Self::ProjectSet(plan) => {
                parts.exprs(plan.calls.iter().flat_map(|call| &call.arguments));
                parts.deferred(&plan.deferred);
            }
            Self::Join(plan) => {
                parts.exprs(&plan.condition);
                parts.exprs(plan.hash_keys.iter().flat_map(|(left, right)| [left, right]));
                parts.deferred(&plan.deferred);
            }
            Self::Aggregate(plan) => {
                parts.exprs(&plan.group_by);
                for call in &plan.aggregates {
                    parts.exprs(call.arguments.iter().chain(&call.filter));
                    parts.exprs(call.order_by.iter().map(|(key, ..)| key));
                }
            }
            Self::Sort(plan) => {
                parts.exprs(plan.keys.iter().map(|key| &key.expr));
                parts.exprs(plan.limit.iter().flat_map(|(limit, offset)| limit.iter().chain(offset)));
            }
            Self::Limit(plan) => {
                parts.exprs(plan.limit.iter().chain(&plan.offset));
                parts.deferred(&plan.deferred);
            }
            Self::Lock(plan) => {
                parts.exprs(plan.joins.iter().map(|join| &join.condition).chain(&plan.recheck));
                parts.deferred(&plan.deferred);
            }
            Self::Insert(_) | Self::Update(_) | Self::Delete(_) => self.change_parts(&mut parts),
        }
    }

    fn change_parts(&self, parts: &mut Parts<'_>) {
        match self {
            Self::Insert(plan) => {
                parts.exprs(&plan.values);
                parts.checks(&plan.target);
                parts.returning(&plan.returning);
                parts.deferred(&plan.deferred);
                if let Some(ConflictPlan { action, .. }) = &plan.conflict
                    && let ConflictAction::Update { assignments, condition, deferred } = action
                {
                    parts.exprs(assignments.iter().map(|(_, value)| value).chain(condition));
                    parts.deferred(deferred);
                }
            }
            Self::Update(plan) => {
                parts.exprs(plan.assignments.iter().map(|(_, value)| value).chain(&plan.recheck));
                parts.checks(&plan.target);
                parts.returning(&plan.returning);
                parts.deferred(&plan.deferred);
                parts.deferred(&plan.recheck_deferred);
            }
            Self::Delete(plan) => {
                parts.exprs(&plan.recheck);
                parts.returning(&plan.returning);
                parts.deferred(&plan.recheck_deferred);
            }
            _ => {}
        }
    }
}

/// All expressions of a scan, which do not depend on its row but for the filter.
fn scan_exprs(plan: &ScanPlan) -> impl Iterator<Item = &Expr> {
    let range = &plan.range;
    let bounds = range.lower.iter().chain(&range.upper).map(|(expr, _)| expr);
    plan.filter.iter().chain(&range.equal).chain(bounds).chain(range.points.iter().flatten())
}

struct Parts<'v>(&'v mut dyn FnMut(Part<'_>));

impl Parts<'_> {
    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        exprs.into_iter().for_each(|expr| (self.0)(Part::Expr(expr)));
    }

    fn deferred(&mut self, deferred: &DeferredValues) {
        (self.0)(Part::Deferred(deferred));
    }

    fn checks(&mut self, target: &ModifiedTable) {
        self.exprs(target.checks.iter().map(|(_, check)| check));
    }

    fn returning(&mut self, returning: &Option<Returning>) {
        if let Some(returning) = returning {
            self.exprs(&returning.exprs);
            self.deferred(&returning.deferred);
        }
    }
}
