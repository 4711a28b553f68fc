//! What hot_standby_feedback promises: while a standby's word of its snapshots is in force at the primary,
//! replay does not have to give any of them up.

use super::{Shared, machine_of};
use crate::cluster::DATA;
use crate::features::Feature;
use crate::plan::{Event, Timed};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use wal::Lsn;
use wal::control::{ClusterState, ControlFile};

/// Whoever holds a snapshot does so for less, in milliseconds.
const HOLD_MS: u64 = 3500;

/// Whose snapshots are heeded.
#[derive(Debug, Default)]
pub(super) struct Heeded(BTreeMap<usize, Word>);

/// A standby's word, in force on a stream.
#[derive(Debug)]
struct Word {
    upstream: usize,
    /// The end of the upstream's log when it came: what was removed before is in the log up to there.
    from: Lsn,
    /// Since when that is replayed, in milliseconds.
    since_ms: Option<u64>,
}

impl Heeded {
    /// A standby begins another stream, or ends one.
    pub(super) fn forget(&mut self, standby: usize) {
        self.0.remove(&standby);
    }

    /// A standby tells an upstream, whose log ends there, of its snapshots; None if nobody shall heed them.
    pub(super) fn told(&mut self, standby: usize, whom: Option<(usize, Lsn)>) {
        match whom {
            None => self.forget(standby),
            Some((upstream, from)) => {
                self.0.entry(standby).or_insert(Word { upstream, from, since_ms: None });
            }
        }
    }

    /// A standby has replayed so much.
    pub(super) fn replayed(&mut self, standby: usize, upto: Lsn, now_ms: u64) {
        if let Some(word) = self.0.get_mut(&standby).filter(|word| upto >= word.from) {
            word.since_ms.get_or_insert(now_ms);
        }
    }
}

/// Replay on a node gave a snapshot up: that is wrong if its word was in force for long enough.
pub(super) fn gave_up(shared: &Shared, node: usize) -> Result<(), String> {
    // Whoever has a snapshot when a table is dropped is told the same.
    if shared.plan.features.has(Feature::Ddl) {
        return Ok(());
    }
    let now_ms = shared.now_ms();
    let (upstream, since_ms) = {
        let wire = shared.wire.lock();
        let Some(Word { upstream, since_ms: Some(since_ms), .. }) = wire.heeded.0.get(&node) else {
            return Ok(());
        };
        (*upstream, *since_ms)
    };
    if now_ms < since_ms + HOLD_MS || befell(shared, [node, upstream], since_ms) {
        return Ok(());
    }
    let cluster = shared.cluster.lock();
    let control =
        cluster.node(machine_of(upstream)).map(|there| ControlFile::load(there.files(), Path::new(DATA)));
    let writes = matches!(control, Some(Ok(control)) if control.state == ClusterState::InProduction);
    if !writes {
        return Ok(());
    }
    Err(format!(
        "Feedback: node {node} gave up a snapshot, and told node {upstream} of them all since {since_ms} ms"
    ))
}

/// Whether anything happened to these nodes since a time that may have ended their connection.
fn befell(shared: &Shared, nodes: [usize; 2], since_ms: u64) -> bool {
    let from_ms = shared.plan_from_ms.load(Ordering::Relaxed);
    let facts = shared.facts.lock();
    let lost = |node: usize| facts.losses_since(node, since_ms) > 0 || facts.paused_since(node, since_ms);
    let ends = |timed: &Timed| {
        parts(&timed.event).is_some_and(|(of, lasts_ms)| {
            from_ms + timed.at_ms + lasts_ms >= since_ms && of.iter().any(|node| nodes.contains(node))
        })
    };
    nodes.into_iter().any(lost) || shared.plan.events.iter().any(ends)
}

/// Whose connections an event may end, and for how long it does so.
fn parts(event: &Event) -> Option<([usize; 2], u64)> {
    match event {
        Event::Partition { from, to, ms, .. }
        | Event::SlowLink { from, to, ms, .. }
        | Event::NarrowLink { from, to, ms, .. } => Some(([*from, *to], *ms)),
        Event::Isolate { node, ms } => Some(([*node; 2], *ms)),
        Event::ResetConnections { node } | Event::Reload { node, .. } => Some(([*node; 2], 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_in_force_once_what_was_removed_before_it_is_replayed() {
        let mut heeded = Heeded::default();
        heeded.told(1, Some((0, Lsn::new(100))));
        heeded.replayed(1, Lsn::new(99), 5);
        assert_eq!(heeded.0[&1].since_ms, None);
        heeded.replayed(1, Lsn::new(100), 6);
        heeded.told(1, Some((0, Lsn::new(200))));
        heeded.replayed(1, Lsn::new(150), 7);
        assert_eq!(heeded.0[&1].since_ms, Some(6));
        heeded.told(1, None);
        assert!(heeded.0.is_empty());
    }
}
