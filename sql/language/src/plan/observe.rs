//! EXPLAIN ANALYZE: operators between those of a plan that count what comes through, and how long it takes.
//!
//! Only a plan that is to be observed has them: others count nothing.

use super::depth::needs;
use super::node::{DeferredValues, FilterPlan, Node, Plan};
use crate::expr::Expr;
use sql_interface::{Result, stack};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was seen of an operator, over all its runs.
#[derive(Debug, Default)]
pub struct Figures {
    loops: AtomicU64,
    rows: AtomicU64,
    first_nanos: AtomicU64,
    total_nanos: AtomicU64,
}

/// The same as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// How often it ran.
    pub loops: u64,
    /// Rows that it gave, in all runs.
    pub rows: u64,
    /// Time until its first rows, in all runs.
    pub first: Duration,
    /// Time that it took with what is below it, in all runs.
    pub total: Duration,
}

impl Figures {
    /// A run begins.
    pub fn begin(&self) {
        self.loops.fetch_add(1, Ordering::Relaxed);
    }

    /// It has given so many rows in this time; `first`: the first ones of a run.
    pub fn add(&self, rows: usize, took: Duration, first: bool) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.total_nanos.fetch_add(nanos, Ordering::Relaxed);
        if first {
            self.first_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// What was seen so far.
    pub fn get(&self) -> Observed {
        Observed {
            loops: self.loops.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            first: Duration::from_nanos(self.first_nanos.load(Ordering::Relaxed)),
            total: Duration::from_nanos(self.total_nanos.load(Ordering::Relaxed)),
        }
    }
}

/// An operator that is observed.
#[derive(Debug)]
pub struct ObservedPlan {
    /// The operator.
    pub input: Node,
    /// Whether its times are taken, which costs two looks at the clock for each batch of rows.
    pub timing: bool,
    /// What was seen of it.
    pub figures: Figures,
}

/// Has all operators of a plan observed, which nobody else holds. Those of subqueries in expressions are not.
///
/// # Errors
///
/// 54001 if the plan is too deep for that.
pub fn observe(plan: &mut Plan, timing: bool) -> Result<()> {
    // It holds operators of the plan, and has none that could be observed.
    plan.direct = None;
    stack::with_bytes(plan.stack_bytes, || wrap(&mut plan.node, timing));
    plan.stack_bytes = plan.stack_bytes.max(needs(&plan.node)?.stack_bytes);
    Ok(())
}

fn wrap(node: &mut Node, timing: bool) {
    below(node, &mut |input| wrap(input, timing));
    if let Node::Scan(plan) = node
        && let Some(plan) = Arc::get_mut(plan)
        && !plan.filter.is_empty()
    {
        // Rows are counted before the filter, too.
        let mut filter = std::mem::take(&mut plan.filter);
        let condition = if filter.len() == 1 { filter.remove(0) } else { Expr::And(filter) };
        let input = std::mem::replace(node, Node::Unit);
        let input = Node::Observed(Arc::new(ObservedPlan { input, timing, figures: Figures::default() }));
        *node = Node::Filter(Arc::new(FilterPlan { input, condition, deferred: DeferredValues::default() }));
    }
    // A projection is shown as part of what is below it.
    if !matches!(node, Node::Project(_)) {
        let input = std::mem::replace(node, Node::Unit);
        *node = Node::Observed(Arc::new(ObservedPlan { input, timing, figures: Figures::default() }));
    }
}

/// Visits the nodes right below a node, which nobody else holds.
fn below(node: &mut Node, visit: &mut dyn FnMut(&mut Node)) {
    macro_rules! inputs {
        ($plan:ident: $($input:ident),+) => {
            if let Some(plan) = Arc::get_mut($plan) {
                $(visit(&mut plan.$input);)+
            }
        };
    }
    match node {
        Node::Unit | Node::Values(_) | Node::Scan(_) | Node::Generated(_) | Node::Function(_) => {}
        Node::Filter(plan) => inputs!(plan: input),
        Node::Project(plan) => inputs!(plan: input),
        Node::ProjectSet(plan) => inputs!(plan: input),
        Node::Join(plan) => inputs!(plan: left, right),
        Node::Aggregate(plan) => inputs!(plan: input),
        Node::Sort(plan) => inputs!(plan: input),
        Node::Limit(plan) => inputs!(plan: input),
        Node::Distinct(plan) => inputs!(plan: input),
        Node::SetOperation(plan) => inputs!(plan: left, right),
        Node::Lock(plan) => inputs!(plan: input),
        Node::Insert(plan) => inputs!(plan: input),
        Node::Update(plan) => inputs!(plan: input),
        Node::Delete(plan) => inputs!(plan: input),
        Node::Observed(plan) => inputs!(plan: input),
    }
}
