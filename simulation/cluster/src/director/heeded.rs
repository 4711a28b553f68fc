//! What hot_standby_feedback promises: while a standby's word of its snapshots is in force at the primary,
//! replay does not have to give any of them up.

use super::words::GIVEN_UP;
use super::{Shared, machine_of};
use crate::cluster::{DATA, conninfo};
use crate::plan::{Event, Timed};
use protocol::Client;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use wal::Lsn;
use wal::control::{ClusterState, ControlFile};

/// Whoever holds a snapshot does so for less, in milliseconds.
const HOLD_MS: u64 = 3500;

/// A word reaches its upstream within this time, in milliseconds.
const WORD_MS: u64 = 200;
/// Time between two looks with a snapshot that is held.
const LOOK: Duration = Duration::from_millis(100);

/// Whose snapshots are heeded.
#[derive(Debug, Default)]
pub(super) struct Heeded(BTreeMap<usize, Word>);

/// A standby's word, in force on a stream.
#[derive(Debug)]
struct Word {
    upstream: usize,
    /// The end of the upstream's log when it came, or, if it had not said that yet, when it did: what was
    /// removed before is in the log up to there.
    from: Option<Lsn>,
    /// Since when that is replayed, in milliseconds.
    since_ms: Option<u64>,
}

impl Heeded {
    /// A standby begins another stream, or ends one.
    pub(super) fn forget(&mut self, standby: usize) {
        self.0.remove(&standby);
    }

    /// A life of a node begins: its streams, on either side, ended with the one before.
    pub(super) fn starts(&mut self, node: usize) {
        self.0.retain(|standby, word| *standby != node && word.upstream != node);
    }

    /// A standby tells an upstream, whose log ends there if that is known, of its snapshots; None if nobody
    /// shall heed them.
    pub(super) fn told(&mut self, standby: usize, whom: Option<(usize, Option<Lsn>)>) {
        match whom {
            None => self.forget(standby),
            Some((upstream, from)) => {
                self.0.entry(standby).or_insert(Word { upstream, from, since_ms: None });
            }
        }
    }

    /// A standby is told where its upstream's log ends.
    pub(super) fn ends(&mut self, standby: usize, end: Lsn) {
        if let Some(word) = self.0.get_mut(&standby) {
            word.from.get_or_insert(end);
        }
    }

    /// A standby has replayed so much.
    pub(super) fn replayed(&mut self, standby: usize, upto: Lsn, now_ms: u64) {
        if let Some(word) = self.0.get_mut(&standby).filter(|word| word.from.is_some_and(|from| upto >= from))
        {
            word.since_ms.get_or_insert(now_ms);
        }
    }
}

/// Replay on a node gave a snapshot up at a time: wrong if its word was in force for long enough by then.
pub(super) fn gave_up(shared: &Shared, node: usize, at_ms: u64) -> Result<(), String> {
    let Some((upstream, since_ms)) = in_force(shared, node) else { return Ok(()) };
    if at_ms < since_ms + HOLD_MS || !must_last(shared, node, (upstream, since_ms)) {
        return Ok(());
    }
    Err(format!(
        "Feedback: node {node} gave up a snapshot at {at_ms} ms, and told node {upstream} of them all since \
         {since_ms} ms"
    ))
}

/// The upstream at which a standby's word is in force, and since when.
fn in_force(shared: &Shared, node: usize) -> Option<(usize, u64)> {
    let wire = shared.wire.lock();
    let word = wire.heeded.0.get(&node)?;
    Some((word.upstream, word.since_ms?))
}

/// Whether a standby's word, in force at a primary since a time, was so without a break.
fn must_last(shared: &Shared, node: usize, (upstream, since_ms): (usize, u64)) -> bool {
    if befell(shared, [node, upstream], since_ms) {
        return false;
    }
    let cluster = shared.cluster.lock();
    let control =
        cluster.node(machine_of(upstream)).map(|there| ControlFile::load(there.files(), Path::new(DATA)));
    matches!(control, Some(Ok(control)) if control.state == ClusterState::InProduction)
}

/// Holds a snapshot on a standby whose word is in force. Replay must not have to give it up.
pub(super) async fn hold(shared: Arc<Shared>, node: usize, ms: u64) {
    let Some((upstream, since_ms)) = in_force(&shared, node) else { return };
    // It may have been on its way for a moment.
    let from_ms = shared.now_ms();
    if from_ms < since_ms + WORD_MS {
        return;
    }
    let Err(why) = look_for(node, ms).await else { return };
    // Tables that are dropped go whoever reads.
    let same = why.contains(GIVEN_UP) && in_force(&shared, node) == Some((upstream, since_ms));
    if same && must_last(&shared, node, (upstream, since_ms)) {
        shared.fail(format!(
            "Feedback: node {node} gave up a snapshot of {from_ms} ms, and told node {upstream} of them all \
             since {since_ms} ms: {why}"
        ));
    }
}

/// Looks at the registers with one snapshot, again and again.
async fn look_for(node: usize, ms: u64) -> Result<(), String> {
    let text = |error: protocol::ClientError| error.to_string();
    let mut client = Client::connect_to(&conninfo(machine_of(node))).await.map_err(text)?;
    client.simple_query("begin isolation level repeatable read").await.map_err(text)?;
    let ends = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < ends {
        client.simple_query("select sum(v) from registers").await.map_err(text)?;
        tokio::time::sleep(LOOK).await;
    }
    client.simple_query("commit").await.map(drop).map_err(text)
}

/// Whether anything happened to these nodes since a time that may have ended their connection.
fn befell(shared: &Shared, nodes: [usize; 2], since_ms: u64) -> bool {
    let (from_ms, now_ms) = (shared.plan_from_ms.load(Ordering::Relaxed), shared.now_ms());
    let facts = shared.facts.lock();
    let lost = |node: usize| facts.losses_since(node, since_ms) > 0 || facts.paused_since(node, since_ms);
    let ends = |timed: &Timed| {
        parts(&timed.event).is_some_and(|(of, lasts_ms)| {
            let begun_ms = from_ms + timed.at_ms;
            let lasted = begun_ms <= now_ms && begun_ms + lasts_ms >= since_ms;
            lasted && of.iter().any(|node| nodes.contains(node))
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
        heeded.told(1, Some((0, Some(Lsn::new(100)))));
        heeded.replayed(1, Lsn::new(99), 5);
        assert_eq!(heeded.0[&1].since_ms, None);
        heeded.replayed(1, Lsn::new(100), 6);
        heeded.told(1, Some((0, Some(Lsn::new(200)))));
        heeded.replayed(1, Lsn::new(150), 7);
        assert_eq!(heeded.0[&1].since_ms, Some(6));
        heeded.told(1, None);
        assert!(heeded.0.is_empty());
        heeded.told(1, Some((0, None)));
        heeded.replayed(1, Lsn::new(100), 8);
        heeded.ends(1, Lsn::new(300));
        heeded.replayed(1, Lsn::new(299), 9);
        assert_eq!(heeded.0[&1].since_ms, None);
        heeded.replayed(1, Lsn::new(300), 10);
        assert_eq!(heeded.0[&1].since_ms, Some(10));
    }

    #[test]
    fn a_word_ends_with_the_life_of_either_side() {
        let mut heeded = Heeded::default();
        heeded.told(1, Some((0, None)));
        heeded.told(2, Some((1, None)));
        heeded.told(3, Some((0, None)));
        heeded.starts(1);
        assert_eq!(heeded.0.keys().collect::<Vec<_>>(), [&3]);
    }
}
