//! Who fell back and goes down before it is back tells of that when it starts again: it stands in its log.

use super::words::{FALLS_BACK, FELL_BACK, NOBODY_NAMED, READY, RETURNS, STANDBY};
use super::{Shared, machine_of};
use crate::guarantee::Lost;
use std::collections::{BTreeMap, BTreeSet};

/// How long a primary may take to tell of it.
const TELL_MS: u64 = 2000;

/// What is known of fallbacks.
#[derive(Debug, Default)]
pub(super) struct Fallbacks {
    /// Nodes that fell back and are not back.
    open: BTreeSet<usize>,
    /// Those of them that started again, with when.
    started: BTreeMap<usize, u64>,
}

impl Fallbacks {
    /// Takes in a line of a node's log.
    pub(super) fn hear(&mut self, node: usize, now_ms: u64, line: &str) {
        if line.contains(FALLS_BACK) {
            self.open.insert(node);
        }
        if [RETURNS, FELL_BACK, STANDBY, NOBODY_NAMED].iter().any(|words| line.contains(words)) {
            self.open.remove(&node);
            self.started.remove(&node);
        }
        if line.contains(READY) && self.open.contains(&node) {
            self.started.insert(node, now_ms);
        }
    }

    /// A node went down.
    pub(super) fn lost(&mut self, node: usize, lost: Lost) {
        self.started.remove(&node);
        if lost == Lost::Directory {
            self.open.remove(&node);
        }
    }
}

/// Whether all that started again have told.
pub(super) fn look(shared: &Shared) -> Result<(), String> {
    let (cluster, mut facts) = (shared.cluster.lock(), shared.facts.lock());
    let is_up = |node: usize| cluster.node(machine_of(node)).is_some_and(|node| node.is_up());
    facts.fallbacks.started.retain(|node, _| is_up(*node));
    let late = |(node, since_ms): (&usize, &u64)| {
        let is_late = since_ms + TELL_MS < shared.now_ms();
        (is_late && !facts.paused_since(*node, *since_ms)).then_some(*node)
    };
    match facts.fallbacks.started.iter().find_map(late) {
        Some(node) => Err(format!("Silent: node {node} fell back before it went down, and does not say so")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fell_back_and_starts_again_has_to_tell() {
        let mut fallbacks = Fallbacks::default();
        fallbacks.hear(1, 10, READY);
        assert!(fallbacks.started.is_empty());
        fallbacks.hear(1, 20, FALLS_BACK);
        fallbacks.lost(1, Lost::Process);
        fallbacks.hear(1, 30, READY);
        assert_eq!(fallbacks.started, [(1, 30)].into());
        fallbacks.hear(1, 31, FELL_BACK);
        assert!(fallbacks.started.is_empty() && fallbacks.open.is_empty());
        fallbacks.hear(2, 40, FALLS_BACK);
        fallbacks.lost(2, Lost::Directory);
        fallbacks.hear(2, 50, READY);
        assert!(fallbacks.started.is_empty(), "its log is another one's");
    }
}
