//! What nobody looks at: columns that a scan need not decode, values that a query in FROM or below EXISTS
//! need not compute.

use super::node::{
    ConflictAction, ConflictPlan, DeferredSource, DeferredValue, DeferredValues, JoinPlan, Node, SetFunction,
};
use super::parts::Part;
use crate::expr::Expr;
use sql_types::{Datum, Type};
use std::collections::HashSet;
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
            self.add_exprs(slot.source.arguments());
            if let Some(node) = slot.source.node() {
                self.add_outer(node, 0);
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
    Walk { seen: HashSet::new(), acts: false, visit }.node(node, depth);
}

/// Whether nothing comes of evaluating an expression but its value, which is the same each time: it may be
/// left out. `deferred`: what waits at its place.
fn only_gives_its_value(expr: &Expr, deferred: &DeferredValues) -> bool {
    let mut volatile = expr.is_volatile();
    let mut walk =
        Walk { seen: HashSet::new(), acts: false, visit: &mut |expr, _| volatile |= expr.is_volatile() };
    expr.walk(&mut |part| {
        if let Expr::Deferred { index, .. } = part
            && let Some(slot) = deferred.get(*index)
        {
            walk.slot(slot, 0);
        }
        true
    });
    let acts = walk.acts;
    !acts && !volatile
}

/// Whether a query gives the same rows each time that it runs, and does nothing.
pub(super) fn is_steady(node: &Node) -> bool {
    let mut volatile = false;
    let mut walk =
        Walk { seen: HashSet::new(), acts: false, visit: &mut |expr, _| volatile |= expr.is_volatile() };
    walk.node(node, 0);
    let acts = walk.acts;
    !acts && !volatile
}

/// How often a plan names the row that is so many levels around it.
pub(super) fn rows_named(node: &Node, depth: usize) -> usize {
    let mut count = 0;
    each_expr(node, depth, &mut |expr, depth| {
        expr.walk(&mut |part| {
            count += usize::from(matches!(part, Expr::Outer { depth: found, .. } if *found == depth));
            true
        });
    });
    count
}

/// A walk over a plan. Several operators may share values that wait, and so on at each level: these are
/// looked at once.
struct Walk<'v> {
    seen: HashSet<(*const Vec<DeferredValue>, usize)>,
    /// It came by what does more than to read tables: a function of the node, a lock.
    acts: bool,
    visit: &'v mut dyn FnMut(&Expr, usize),
}

impl Walk<'_> {
    fn node(&mut self, node: &Node, depth: usize) {
        self.acts |= match node {
            Node::Lock(_) | Node::Insert(_) | Node::Update(_) | Node::Delete(_) => true,
            Node::Function(plan) => matches!(plan.call.function, SetFunction::Node { .. }),
            _ => false,
        };
        node.parts(&mut |part| match part {
            Part::Expr(expr) => (self.visit)(expr, depth),
            Part::Deferred(deferred) => self.deferred(deferred, depth),
        });
        if let Node::Join(plan) = node {
            self.node(&plan.left, depth);
            self.node(&plan.right, depth + usize::from(plan.lateral));
        } else {
            node.inputs().for_each(|input| self.node(input, depth));
        }
    }

    fn deferred(&mut self, deferred: &DeferredValues, depth: usize) {
        if deferred.is_empty() || !self.seen.insert((Arc::as_ptr(deferred), depth)) {
            return;
        }
        deferred.iter().for_each(|slot| self.slot(slot, depth));
    }

    fn slot(&mut self, slot: &DeferredValue, depth: usize) {
        slot.source.arguments().iter().for_each(|expr| (self.visit)(expr, depth));
        match slot.source.node() {
            Some(node) => self.node(node, depth + 1),
            None => self.acts = true,
        }
    }
}

/// Visits the columns of enclosing rows that a deferred value names: how many rows lie between them and the
/// row that it is computed for, their place, and their type.
pub(super) fn outer_columns(slot: &DeferredValue, visit: &mut dyn FnMut(usize, usize, Type)) {
    let mut outer = |expr: &Expr, depth: usize, between: usize| {
        expr.walk(&mut |part| {
            if let Expr::Outer { depth: found, index, ty } = part
                && *found >= depth
            {
                visit(*found - depth + between, *index, *ty);
            }
            true
        });
    };
    // Arguments see the row itself, a subquery sees it as its nearest outer one.
    slot.source.arguments().iter().for_each(|expr| outer(expr, 0, 1));
    if let Some(node) = slot.source.node() {
        each_expr(node, 0, &mut |expr, depth| outer(expr, depth, 0));
    }
}

/// Whether an expression, or what waits for it, is about the row that it is computed for.
pub(super) fn names_own_row(expr: &Expr, deferred: &DeferredValues) -> bool {
    let mut found = false;
    expr.walk(&mut |part| {
        match part {
            Expr::Column { .. } => found = true,
            Expr::Deferred { index, .. } => {
                if let Some(slot) = deferred.get(*index) {
                    outer_columns(slot, &mut |above, _, _| found |= above == 0);
                    found |= slot.source.arguments().iter().any(|argument| names_own_row(argument, deferred));
                }
            }
            _ => {}
        }
        true
    });
    found
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
            | DeferredSource::Partner { node, .. }
            | DeferredSource::Quantified { node, .. } => {
                visit(node, &Needed::All);
            }
            DeferredSource::Exists(node) if asks_for_any_row(node) => visit(node, &Needed::none()),
            DeferredSource::Exists(node) => visit(node, &Needed::All),
            DeferredSource::Call { .. } | DeferredSource::Sequence { .. } => {}
        }
    }
}

/// Whether a query has a row exactly when its FROM and WHERE have one.
pub(super) fn asks_for_any_row(node: &Node) -> bool {
    let any_number = |limit: &Expr| matches!(limit.as_const(), Some(Datum::Int8(1..)));
    match node {
        Node::Project(plan) => asks_for_any_row(&plan.input),
        Node::Sort(plan) => asks_for_any_row(&plan.input),
        Node::Distinct(plan) => asks_for_any_row(&plan.input),
        Node::Limit(plan) => {
            plan.offset.is_none() && plan.limit.iter().all(any_number) && asks_for_any_row(&plan.input)
        }
        Node::Filter(plan) => !matches!(plan.input, Node::Aggregate(_)),
        Node::Aggregate(plan) => !plan.plain && plan.aggregates.is_empty(),
        Node::Unit
        | Node::Values(_)
        | Node::Scan(_)
        | Node::Generated(_)
        | Node::Function(_)
        | Node::Join(_) => true,
        _ => false,
    }
}

/// Takes off such a query what it does to its rows: they are neither computed nor sorted nor compared, as in
/// PostgreSQL, though that may have done something or failed.
pub(super) fn leave_rows_alone(node: &mut Node) {
    let mut is_projected = false;
    loop {
        let input = match node {
            Node::Project(plan) if !is_projected => {
                is_projected = true;
                Arc::get_mut(plan).map(|plan| &mut plan.input)
            }
            Node::Sort(plan) => Arc::get_mut(plan).map(|plan| &mut plan.input),
            Node::Distinct(plan) if !is_projected => Arc::get_mut(plan).map(|plan| &mut plan.input),
            Node::Limit(plan) if !is_projected => Arc::get_mut(plan).map(|plan| &mut plan.input),
            _ => return,
        };
        let Some(input) = input else { return };
        *node = std::mem::replace(input, Node::Unit);
    }
}

/// `needed`: what is looked at of the rows that `node` gives.
fn visit(node: &mut Node, needed: &Needed) {
    if let Node::Project(plan) = node {
        change(plan, |plan| {
            for (at, expr) in plan.exprs.iter_mut().enumerate() {
                if !needed.has(at) && !expr.is_const() && only_gives_its_value(expr, &plan.deferred) {
                    *expr = super::node::null(expr.ty());
                }
            }
        });
    }
    let below = needed_of_inputs(node, needed);
    match node {
        Node::Unit | Node::Generated(_) => {}
        Node::Scan(plan) => change(plan, |plan| plan.needed.retain(|at| below.has(*at))),
        Node::Values(plan) => change(plan, |plan| visit_deferred(&mut plan.deferred)),
        Node::Function(plan) => change(plan, |plan| visit_deferred(&mut plan.deferred)),
        Node::Filter(plan) => change(plan, |plan| visit_both(&mut plan.deferred, &mut plan.input, &below)),
        Node::Project(plan) => change(plan, |plan| visit_both(&mut plan.deferred, &mut plan.input, &below)),
        Node::ProjectSet(plan) => {
            change(plan, |plan| visit_both(&mut plan.deferred, &mut plan.input, &below));
        }
        Node::Join(plan) => change(plan, |plan| visit_join(plan, &below)),
        Node::Aggregate(plan) => change(plan, |plan| visit(&mut plan.input, &below)),
        Node::Sort(plan) => change(plan, |plan| visit(&mut plan.input, &below)),
        Node::Limit(plan) => change(plan, |plan| visit_both(&mut plan.deferred, &mut plan.input, &below)),
        Node::Distinct(plan) => change(plan, |plan| visit(&mut plan.input, &below)),
        Node::SetOperation(plan) => change(plan, |plan| {
            visit(&mut plan.left, &below);
            visit(&mut plan.right, &below);
        }),
        Node::Lock(plan) => change(plan, |plan| {
            for target in &mut plan.targets {
                let start = target.start;
                target.needed.retain(|at| below.has(start + at));
            }
            visit(&mut plan.input, &below);
        }),
        Node::Insert(plan) => change(plan, |plan| {
            if let Some(ConflictPlan { action: ConflictAction::Update { deferred, .. }, .. }) =
                &mut plan.conflict
            {
                visit_deferred(deferred);
            }
            visit(&mut plan.input, &below);
        }),
        Node::Update(plan) => change(plan, |plan| visit_both(&mut plan.deferred, &mut plan.input, &below)),
        Node::Delete(plan) => change(plan, |plan| visit(&mut plan.input, &below)),
        Node::Observed(plan) => change(plan, |plan| visit(&mut plan.input, &below)),
    }
}

/// Changes a node's plan, which nobody else holds yet.
fn change<T>(plan: &mut Arc<T>, change: impl FnOnce(&mut T)) {
    if let Some(plan) = Arc::get_mut(plan) {
        change(plan);
    }
}

fn visit_both(deferred: &mut DeferredValues, input: &mut Node, below: &Needed) {
    visit_deferred(deferred);
    visit(input, below);
}

/// What is looked at of the rows that a node reads: by itself, and by those who look at the rows that it
/// gives.
fn needed_of_inputs(node: &Node, needed: &Needed) -> Needed {
    let mut below = match node {
        Node::Project(_) | Node::Aggregate(_) => Needed::none(),
        // The whole row is written, or told by RETURNING. Rows are compared as wholes.
        Node::Insert(_) | Node::Update(_) | Node::Delete(_) | Node::SetOperation(_) => return Needed::All,
        _ => needed.clone(),
    };
    match node {
        // Keys of a hash are each of one side: visit_join adds them.
        Node::Join(plan) => {
            below.add_exprs(&plan.condition);
            below.add_deferred(&plan.deferred);
            return below;
        }
        Node::Distinct(plan) => plan.columns.iter().for_each(|at| below.add(*at)),
        Node::Lock(plan) => plan.targets.iter().for_each(|target| below.add(target.key)),
        _ => {}
    }
    node.parts(&mut |part| match part {
        Part::Expr(expr) => below.add_expr(expr),
        Part::Deferred(deferred) => below.add_deferred(deferred),
    });
    below
}

fn visit_join(plan: &mut JoinPlan, below: &Needed) {
    let width = plan.left_width;
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
