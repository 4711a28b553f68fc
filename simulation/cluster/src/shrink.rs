//! A plan that fails becomes a short plan that fails.
//!
//! Events go first, in halves, then quarters and so on, down to single ones; then clients, features, nodes'
//! chains and the time that is left; then events again, as long as anything goes. What remains fails and
//! needs every event that it has: without any single one it passes.

use crate::plan::{Plan, Timed};

/// What was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The shortest plan that was found to fail.
    pub plan: Plan,
    /// How many plans were run.
    pub runs: usize,
}

/// Shortens `plan`, which fails. `fails` says whether a plan still does, and is asked at most
/// `runs_max` times.
pub fn shrink(plan: &Plan, runs_max: usize, fails: impl FnMut(&Plan) -> bool) -> Shrunk {
    let mut search = Search { best: plan.clone(), runs: 0, runs_max, fails };
    while search.fewer_events() | search.simpler() {}
    Shrunk { plan: search.best, runs: search.runs }
}

struct Search<F> {
    best: Plan,
    runs: usize,
    runs_max: usize,
    fails: F,
}

impl<F: FnMut(&Plan) -> bool> Search<F> {
    /// Takes the plan if it fails, too.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if self.runs >= self.runs_max || plan == self.best {
            return false;
        }
        self.runs += 1;
        let fails = (self.fails)(&plan);
        if fails {
            self.best = plan;
        }
        fails
    }

    /// Leaves out events, many at once as long as that works. Whether any went.
    fn fewer_events(&mut self) -> bool {
        let mut any = false;
        let mut size = self.best.events.len().max(1);
        loop {
            let mut at = 0;
            while at < self.best.events.len() {
                let end = (at + size).min(self.best.events.len());
                let (before, after) = (&self.best.events[..at], &self.best.events[end..]);
                let events: Vec<Timed> = before.iter().chain(after).cloned().collect();
                if self.try_plan(Plan { events, ..self.best.clone() }) { any = true } else { at = end }
            }
            if size == 1 || self.runs >= self.runs_max {
                return any;
            }
            size = size.div_ceil(2);
        }
    }

    /// Makes everything but the events simpler. Whether anything was.
    fn simpler(&mut self) -> bool {
        let mut any = false;
        for feature in self.best.features.clone().iter() {
            let features = self.best.features.without(feature);
            any |= self.try_plan(Plan { features, ..self.best.clone() });
        }
        while self.best.clients > 1 {
            let clients = self.best.clients / 2;
            if !self.try_plan(Plan { clients, ..self.best.clone() }) {
                break;
            }
            any = true;
        }
        let flat = self.best.upstreams.iter().map(|upstream| upstream.map(|_| 0)).collect();
        any |= self.try_plan(Plan { upstreams: flat, ..self.best.clone() });
        let last_ms = self.best.events.last().map_or(0, |timed| timed.at_ms);
        let duration_ms = self.best.duration_ms.min(last_ms + 1000);
        any | self.try_plan(Plan { duration_ms, ..self.best.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Feature, Features};
    use crate::plan::Event;

    /// A plan with events enough.
    fn long_plan() -> Plan {
        let long = (0..).map(Plan::of_seed).find(|plan| plan.events.len() > 30);
        long.expect("one of the plans is long")
    }

    #[test]
    fn what_a_failure_needs_is_all_that_is_left_in_its_order() {
        let plan = Plan { features: Features::all(), ..long_plan() };
        let needed = [plan.events[3].clone(), plan.events[11].clone(), plan.events[24].clone()];
        let has_all = |plan: &Plan| needed.iter().all(|event| plan.events.contains(event));
        let shrunk = shrink(&plan, 10_000, |plan| has_all(plan) && plan.features.has(Feature::Kills));
        assert_eq!(shrunk.plan.events, needed);
        assert_eq!(shrunk.plan.features, [Feature::Kills].into_iter().collect());
        assert_eq!(shrunk.plan.clients, 1);
        assert!(shrunk.runs < 300, "{} runs", shrunk.runs);
        let last_ms = needed[2].at_ms;
        assert_eq!(shrunk.plan.duration_ms, plan.duration_ms.min(last_ms + 1000));
    }

    #[test]
    fn the_result_fails_also_when_the_tries_are_used_up() {
        let plan = long_plan();
        let promotes = |plan: &Plan| plan.changes_branch();
        for runs_max in [0, 1, 5, 1000] {
            let shrunk = shrink(&plan, runs_max, promotes);
            assert!(promotes(&shrunk.plan) && shrunk.runs <= runs_max);
        }
        let shortest = shrink(&plan, 1000, promotes).plan;
        assert_eq!(shortest.events.len(), 1);
        assert!(matches!(shortest.events[0].event, Event::Promote { .. } | Event::PromoteBest { .. }));
    }
}
