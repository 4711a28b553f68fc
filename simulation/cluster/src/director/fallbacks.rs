//! Who fell back and goes down before it is back tells of that when it starts again: it stands in its log.

use super::admin::{PATIENCE, ask};
use super::words::{FALLS_BACK, FELL_BACK, NOBODY_NAMED, READY, RETURNS, STANDBY, value_after};
use super::{Shared, machine_of};
use crate::guarantee::Lost;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use wal::Lsn;

/// How long a primary may take to tell of it.
const TELL_MS: u64 = 1000;
/// How long a fallback may last once nothing keeps standbys, and the time between two looks.
const END_MS: u64 = 15_000;
const PAUSE: Duration = Duration::from_millis(50);
/// Whether the log says that a fallback which let go what lies behind a position was over before this run.
const IS_OVER: &str = "select count(*) > 0 from plimsoll_unconfirmed \
                       where ended < pg_postmaster_start_time() and upto_lsn >";

/// What is known of fallbacks.
#[derive(Debug, Default)]
pub(super) struct Fallbacks {
    /// Nodes that fell back and are not back, with the position after which they let commits go.
    open: BTreeMap<usize, Lsn>,
    /// Those of them that started again, with when.
    started: BTreeMap<usize, u64>,
    /// Those that are asked.
    asked: BTreeSet<usize>,
}

impl Fallbacks {
    /// Takes in a line of a node's log.
    pub(super) fn hear(&mut self, node: usize, now_ms: u64, line: &str) {
        if let Some(after) = value_after(line, FALLS_BACK) {
            self.open.insert(node, after);
        }
        if [RETURNS, FELL_BACK, STANDBY, NOBODY_NAMED].iter().any(|words| line.contains(words)) {
            self.over(node);
        }
        if line.contains(READY) && self.open.contains_key(&node) {
            self.started.insert(node, now_ms);
        }
    }

    /// A node's fallback is over, or told.
    fn over(&mut self, node: usize) {
        self.open.remove(&node);
        self.started.remove(&node);
    }

    /// A node went down.
    pub(super) fn lost(&mut self, node: usize, lost: Lost) {
        self.started.remove(&node);
        if lost == Lost::Directory {
            self.open.remove(&node);
        }
    }
}

/// Asks whoever started again and has not told in time what its log says: it may have gone down between the
/// record that its fallback is over and the line that tells so.
pub(super) fn look(shared: &Arc<Shared>) {
    let (cluster, mut facts) = (shared.cluster.lock(), shared.facts.lock());
    let is_up = |node: usize| cluster.node(machine_of(node)).is_some_and(|node| node.is_up());
    facts.fallbacks.started.retain(|node, _| is_up(*node));
    let since = facts.fallbacks.started.clone();
    for (node, since_ms) in since {
        let is_late = since_ms + TELL_MS < shared.now_ms() && !facts.paused_since(node, since_ms);
        let after = facts.fallbacks.open.get(&node).copied().filter(|_| is_late);
        if let Some(after) = after
            && facts.fallbacks.asked.insert(node)
        {
            shared.beside(hear_log(shared.clone(), (node, since_ms), after));
        }
    }
}

/// Waits until a primary that had fallen back is back, now that its standbys are there, or nobody is named.
/// It may have started too late to be asked before.
pub(super) async fn wait_for_end(shared: &Arc<Shared>, node: usize) -> Result<(), String> {
    let begun_ms = shared.now_ms();
    loop {
        shared.observe();
        look(shared);
        shared.found()?;
        let open = shared.facts.lock().fallbacks.open.get(&node).copied();
        let Some(after) = open else { return Ok(()) };
        if shared.now_ms() > begun_ms + END_MS {
            return Err(format!("liveness: node {node} fell back after {after}, and does not return"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks a node that is silent since it started; one that does not answer is asked again.
async fn hear_log(shared: Arc<Shared>, (node, since_ms): (usize, u64), after: Lsn) {
    let answer = ask(machine_of(node), &format!("{IS_OVER} '{after}'"), PATIENCE).await;
    shared.observe();
    let mut facts = shared.facts.lock();
    facts.fallbacks.asked.remove(&node);
    let is_silent = facts.fallbacks.started.get(&node) == Some(&since_ms);
    let Some(answer) = answer.ok().filter(|_| is_silent) else { return };
    if answer.as_deref() == Some("t") {
        facts.fallbacks.over(node);
    } else {
        shared.fail(format!("Silent: node {node} fell back before it went down, and does not say so"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fell_back_and_starts_again_has_to_tell() {
        let mut fallbacks = Fallbacks::default();
        let fell_back = format!("{FALLS_BACK}0/3000028: why");
        fallbacks.hear(1, 10, READY);
        assert!(fallbacks.started.is_empty());
        fallbacks.hear(1, 20, &fell_back);
        fallbacks.lost(1, Lost::Process);
        fallbacks.hear(1, 30, READY);
        assert_eq!(fallbacks.started, [(1, 30)].into());
        fallbacks.hear(1, 31, FELL_BACK);
        assert!(fallbacks.started.is_empty() && fallbacks.open.is_empty());
        fallbacks.hear(2, 40, &fell_back);
        fallbacks.lost(2, Lost::Directory);
        fallbacks.hear(2, 50, READY);
        assert!(fallbacks.started.is_empty(), "its log is another one's");
    }
}
