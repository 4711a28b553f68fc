//! Which columns each scan must decode: those that something above it looks at.

use super::node::{
    ConflictAction, ConflictPlan, DeferredSource, DeferredValues, JoinPlan, Node, ScanPlan, SetCall,
};
use crate::expr::Expr;
use std::sync::Arc;

/// Places of a row that are looked at. The row of a long chain of joins is wide, and there is a set for each
/// join: so a place is a bit.
#[derive(Clone, Debug)]
enum Needed {
    All,
    Some(Vec<u64>),
}

/// The word of a set that holds a place, and the place's bit in it.
const fn bit(at: usize) -> (usize, u64) {
    (at / 64, 1 << (at % 64))
}

impl Needed {
    fn none() -> Self {
        Self::Some(Vec::new())
    }

    fn has(&self, at: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(words) => words.get(bit(at).0).is_some_and(|word| word & bit(at).1 != 0),
        }
    }

    fn add(&mut self, at: usize) {
        let Self::Some(words) = self else { return };
        let (word, bit) = bit(at);
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        if let Some(word) = words.get_mut(word) {
            *word |= bit;
        }
    }

    fn add_expr(&mut self, expr: &Expr) {
        expr.walk(&mut |part| {
            if let Expr::Column { index, .. } = part {
                self.add(*index);
            }
            true
        });
    }

    fn add_exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        for expr in exprs {
            self.add_expr(expr);
        }
    }

    /// What subqueries and waiting functions of this row look at.
    fn add_deferred(&mut self, deferred: &DeferredValues) {
        for slot in deferred.iter() {
            match &slot.source {
                DeferredSource::Scalar(node)
                | DeferredSource::Array(node, _)
                | DeferredSource::Exists(node) => {
                    self.add_outer(node, 0);
                }
                DeferredSource::Quantified { left, node, .. } => {
                    self.add_exprs(left);
                    self.add_outer(node, 0);
                }
                DeferredSource::Call { arguments, .. } | DeferredSource::Sequence { arguments, .. } => {
                    self.add_exprs(arguments);
                }
            }
        }
    }

    /// The columns of this row that a plan inside of it names as an outer row's.
    fn add_outer(&mut self, node: &Node, depth: usize) {
        each_expr(node, depth, &mut |expr, depth| {
            expr.walk(&mut |part| {
                if let Expr::Outer { depth: found, index, .. } = part
                    && *found == depth
                {
                    self.add(*index);
                }
                true
            });
        });
    }

    /// The part from `start` on (and before `end`), numbered anew.
    fn part(&self, start: usize, end: usize) -> Self {
        match self {
            Self::All => Self::All,
            Self::Some(words) => {
                let mut part = Self::none();
                let end = end.min(words.len() * 64);
                (start..end).filter(|at| self.has(*at)).for_each(|at| part.add(at - start));
                part
            }
        }
    }
}

/// Visits every expression of a plan, with how many rows lie between it and the row that the plan stands in.
fn each_expr(node: &Node, depth: usize, visit: &mut dyn FnMut(&Expr, usize)) {
    let slots_of = |deferred: &DeferredValues, visit: &mut dyn FnMut(&Expr, usize)| {
        for slot in deferred.iter() {
            match &slot.source {
                DeferredSource::Scalar(node)
                | DeferredSource::Array(node, _)
                | DeferredSource::Exists(node) => {
                    each_expr(node, depth + 1, visit);
                }
                DeferredSource::Quantified { left, node, .. } => {
                    left.iter().for_each(|expr| visit(expr, depth));
                    each_expr(node, depth + 1, visit);
                }
                DeferredSource::Call { arguments, .. } | DeferredSource::Sequence { arguments, .. } => {
                    arguments.iter().for_each(|expr| visit(expr, depth));
                }
            }
        }
    };
    match node {
        Node::Unit | Node::Generated(_) => {}
        Node::Values(plan) => {
            plan.rows.iter().flatten().for_each(|expr| visit(expr, depth));
            slots_of(&plan.deferred, visit);
        }
        Node::Scan(plan) => scan_exprs(plan).for_each(|expr| visit(expr, depth)),
        Node::Function(plan) => {
            plan.call.arguments.iter().for_each(|expr| visit(expr, depth));
            slots_of(&plan.deferred, visit);
        }
        Node::Filter(plan) => {
            visit(&plan.condition, depth);
            slots_of(&plan.deferred, visit);
            each_expr(&plan.input, depth, visit);
        }
        Node::Project(plan) => {
            plan.exprs.iter().for_each(|expr| visit(expr, depth));
            slots_of(&plan.deferred, visit);
            each_expr(&plan.input, depth, visit);
        }
        Node::ProjectSet(plan) => {
            set_exprs(&plan.calls).for_each(|expr| visit(expr, depth));
            slots_of(&plan.deferred, visit);
            each_expr(&plan.input, depth, visit);
        }
        Node::Join(plan) => {
            plan.condition.iter().for_each(|expr| visit(expr, depth));
            plan.hash_keys.iter().for_each(|(left, right)| {
                visit(left, depth);
                visit(right, depth);
            });
            slots_of(&plan.deferred, visit);
            each_expr(&plan.left, depth, visit);
            each_expr(&plan.right, depth + usize::from(plan.lateral), visit);
        }
        Node::Aggregate(plan) => {
            plan.group_by.iter().for_each(|expr| visit(expr, depth));
            for call in &plan.aggregates {
                call.arguments.iter().chain(&call.filter).for_each(|expr| visit(expr, depth));
                call.order_by.iter().for_each(|(expr, ..)| visit(expr, depth));
            }
            each_expr(&plan.input, depth, visit);
        }
        Node::Sort(plan) => {
            plan.keys.iter().for_each(|key| visit(&key.expr, depth));
            each_expr(&plan.input, depth, visit);
        }
        Node::Limit(plan) => {
            plan.limit.iter().chain(&plan.offset).for_each(|expr| visit(expr, depth));
            slots_of(&plan.deferred, visit);
            each_expr(&plan.input, depth, visit);
        }
        Node::Distinct(plan) => each_expr(&plan.input, depth, visit),
        Node::SetOperation(plan) => {
            each_expr(&plan.left, depth, visit);
            each_expr(&plan.right, depth, visit);
        }
        Node::Lock(plan) => {
            plan.recheck.iter().for_each(|expr| visit(expr, depth));
            slots_of(&plan.deferred, visit);
            each_expr(&plan.input, depth, visit);
        }
        // Changes stand at the top of a statement: no row encloses them.
        Node::Insert(_) | Node::Update(_) | Node::Delete(_) => {}
    }
}

fn scan_exprs(plan: &ScanPlan) -> impl Iterator<Item = &Expr> {
    let range = &plan.range;
    let bounds = range.lower.iter().chain(&range.upper).map(|(expr, _)| expr);
    plan.filter.iter().chain(&range.equal).chain(bounds).chain(range.points.iter().flatten())
}

fn set_exprs(calls: &[SetCall]) -> impl Iterator<Item = &Expr> {
    calls.iter().flat_map(|call| &call.arguments)
}

/// Tells all scans of a finished plan what to decode.
pub(crate) fn prune(node: &mut Node) {
    visit(node, &Needed::All);
}

fn visit_deferred(deferred: &mut DeferredValues) {
    let Some(deferred) = Arc::get_mut(deferred) else { return };
    for slot in deferred {
        match &mut slot.source {
            DeferredSource::Scalar(node)
            | DeferredSource::Array(node, _)
            | DeferredSource::Quantified { node, .. } => {
                visit(node, &Needed::All);
            }
            DeferredSource::Exists(node) => visit(node, &Needed::none()),
            DeferredSource::Call { .. } | DeferredSource::Sequence { .. } => {}
        }
    }
}

/// `needed`: what is looked at of the rows that `node` gives.
fn visit(node: &mut Node, needed: &Needed) {
    let mut below = needed.clone();
    match node {
        Node::Unit | Node::Generated(_) => {}
        Node::Scan(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            below.add_exprs(&plan.filter);
            plan.needed.retain(|at| below.has(*at));
        }
        Node::Values(plan) => {
            if let Some(plan) = Arc::get_mut(plan) {
                visit_deferred(&mut plan.deferred);
            }
        }
        Node::Function(plan) => {
            if let Some(plan) = Arc::get_mut(plan) {
                visit_deferred(&mut plan.deferred);
            }
        }
        Node::Filter(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            below.add_expr(&plan.condition);
            below.add_deferred(&plan.deferred);
            visit_deferred(&mut plan.deferred);
            visit(&mut plan.input, &below);
        }
        Node::Project(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            let mut below = Needed::none();
            below.add_exprs(&plan.exprs);
            below.add_deferred(&plan.deferred);
            visit_deferred(&mut plan.deferred);
            visit(&mut plan.input, &below);
        }
        Node::ProjectSet(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            below.add_exprs(set_exprs(&plan.calls));
            below.add_deferred(&plan.deferred);
            visit_deferred(&mut plan.deferred);
            visit(&mut plan.input, &below);
        }
        Node::Join(plan) => {
            if let Some(plan) = Arc::get_mut(plan) {
                visit_join(plan, below);
            }
        }
        Node::Aggregate(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            let mut below = Needed::none();
            below.add_exprs(&plan.group_by);
            for call in &plan.aggregates {
                below.add_exprs(call.arguments.iter().chain(&call.filter));
                below.add_exprs(call.order_by.iter().map(|(expr, ..)| expr));
            }
            visit(&mut plan.input, &below);
        }
        Node::Sort(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            below.add_exprs(plan.keys.iter().map(|key| &key.expr));
            visit(&mut plan.input, &below);
        }
        Node::Limit(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            visit_deferred(&mut plan.deferred);
            visit(&mut plan.input, &below);
        }
        Node::Distinct(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            plan.columns.iter().for_each(|at| below.add(*at));
            visit(&mut plan.input, &below);
        }
        Node::SetOperation(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            visit(&mut plan.left, &Needed::All);
            visit(&mut plan.right, &Needed::All);
        }
        Node::Lock(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            below.add_exprs(&plan.recheck);
            below.add_deferred(&plan.deferred);
            for target in &mut plan.targets {
                let start = target.start;
                below.add(target.key);
                target.needed.retain(|at| below.has(start + at));
            }
            visit(&mut plan.input, &below);
        }
        Node::Insert(plan) => {
            let Some(plan) = Arc::get_mut(plan) else { return };
            if let Some(ConflictPlan { action: ConflictAction::Update { deferred, .. }, .. }) =
                &mut plan.conflict
            {
                visit_deferred(deferred);
            }
            visit(&mut plan.input, &Needed::All);
        }
        // The whole row is written, or told by RETURNING.
        Node::Update(plan) => {
            if let Some(plan) = Arc::get_mut(plan) {
                visit_deferred(&mut plan.deferred);
                visit(&mut plan.input, &Needed::All);
            }
        }
        Node::Delete(plan) => {
            if let Some(plan) = Arc::get_mut(plan) {
                visit(&mut plan.input, &Needed::All);
            }
        }
    }
}

fn visit_join(plan: &mut JoinPlan, mut below: Needed) {
    let width = plan.left_width;
    below.add_exprs(&plan.condition);
    below.add_deferred(&plan.deferred);
    let mut left = below.part(0, width);
    let mut right = below.part(width, usize::MAX);
    for (left_key, right_key) in &plan.hash_keys {
        left.add_expr(left_key);
        right.add_expr(right_key);
    }
    if plan.lateral {
        left.add_outer(&plan.right, 0);
    }
    visit_deferred(&mut plan.deferred);
    visit(&mut plan.left, &left);
    visit(&mut plan.right, &right);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_row_is_numbered_anew() {
        let mut needed = Needed::none();
        [0, 2, 5, 130].into_iter().for_each(|at| needed.add(at));
        let part = needed.part(2, usize::MAX);
        assert_eq!((0..200).filter(|at| part.has(*at)).collect::<Vec<_>>(), [0, 3, 128]);
        assert_eq!((0..200).filter(|at| needed.part(0, 5).has(*at)).collect::<Vec<_>>(), [0, 2]);
        assert!(Needed::All.part(3, 4).has(0));
    }
}
