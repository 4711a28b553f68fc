//! EXPLAIN ANALYZE: an operator whose rows and times are counted.

use super::{Cx, Exec, Operator, Row, build};
use host::Instant;
use sql_interface::Result;
use sql_language::plan::ObservedPlan;
use std::sync::Arc;
use std::time::Duration;

/// A run of an observed operator.
pub(super) struct Observed {
    plan: Arc<ObservedPlan>,
    exec: Exec,
    begun: bool,
}

impl Observed {
    pub(super) fn new(plan: Arc<ObservedPlan>) -> Self {
        let exec = build(&plan.input);
        Self { plan, exec, begun: false }
    }
}

impl Operator for Observed {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let first = !self.begun;
        if first {
            self.begun = true;
            self.plan.figures.begin();
        }
        let from = self.plan.timing.then(Instant::now);
        let rows = self.exec.next(cx, want).await?;
        let took = from.map_or(Duration::ZERO, |from| from.elapsed());
        self.plan.figures.add(rows.as_ref().map_or(0, Vec::len), took, first);
        Ok(rows)
    }
}
