//! What the receiver and redo tell: into the log, and to the parts of the node that it concerns.

use super::{AskRewind, WaysOut};
use crate::replication::rewinding::{commands, is_astray, why_held};
use crate::replication::{Replication, asking, fencing, handover, slots};
use protocol::conninfo;
use protocol::startup::CancelKey;
use protocol::{Report, Severity, SqlState};
use replica::ReplicaError;
use replica::driver::peers::Peer;
use replica::driver::receive::ReceiveObserver;
use replica::driver::{Held, ReplayObserver};
use replica::roster::heard_file::GivenUp;
use replica::slots::UpstreamSlot;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{Conflict, ConflictKind, Database, LockInfo, LockTarget, TreeId};
use wal::history::{BranchId, TimelineHistory};
use wal::reader::{CutTail, EndOfWal};
use wal::{Lsn, ReadError, TimelineId, Xid};

/// Writes what the receiver tells into the log.
pub(super) struct Observer {
    /// Weak, since replication holds the receiver that holds this.
    pub(super) replication: Weak<Replication>,
    /// Asks for a promotion.
    pub(super) promote: Arc<dyn Fn() + Send + Sync>,
    /// Asks for a rewind.
    pub(super) rewind: Arc<AskRewind>,
}

impl Observer {
    pub(super) fn new(replication: &Arc<Replication>, ways_out: &WaysOut) -> Self {
        Self {
            replication: Arc::downgrade(replication),
            promote: ways_out.promote.clone(),
            rewind: ways_out.rewind.clone(),
        }
    }

    /// What becomes of a log that goes on where the upstream's does not: a hint for the log.
    fn way_back(&self, replication: &Replication, error: &ReplicaError) -> Option<String> {
        let ground = &replication.ground;
        let needed = replication.database.control().min_recovery_point;
        if needed > replication.log.state().written() {
            return Some(format!(
                "Files here may be as new as {needed}, and the log up to there did not come: clone it anew."
            ));
        }
        let run =
            format!("To have it follow its upstream, run: {}", commands(ground, &upstream(replication)));
        let alone = match error {
            // The upstream's branch continues the one that is followed here.
            ReplicaError::ForkedBefore { .. } if ground.config().auto_rewind => (self.rewind)(),
            ReplicaError::ForkedBefore { .. } if why_held(ground).is_some() => return Some(run),
            ReplicaError::ForkedBefore { .. } => {
                return Some(format!("{run}. With plimsoll.auto_rewind = on it does so by itself."));
            }
            _ => return Some(format!("Neither branch continues the other: find out which counts. {run}.")),
        };
        match alone {
            Ok(()) => Some("This server rewinds itself: plimsoll.auto_rewind is on.".to_owned()),
            Err(Some(why)) => Some(format!("{run}. This server does not by itself: {why}.")),
            Err(None) => None,
        }
    }
}

/// The server that the receiver has reached: of several that primary_conninfo names, the one whose branch it
/// has compared with this server's.
fn upstream(replication: &Replication) -> String {
    let conninfo = replication.ground.config().primary_conninfo.to_string();
    let place = replication.recovery().and_then(|recovery| recovery.receiver_place());
    place.and_then(|place| conninfo::server_at(&conninfo, &place)).unwrap_or(conninfo)
}

impl ReceiveObserver for Observer {
    fn started(&self, at: Lsn, timeline: TimelineId, again: bool) {
        let Some(replication) = self.replication.upgrade() else { return };
        let what = if again { "restarted WAL streaming" } else { "started streaming WAL from primary" };
        replication.ground.log.log(format!("{what} at {at} on timeline {timeline}"));
        replication.astray_at.store(0, Ordering::Relaxed);
        if !replication.roster.heard_branches(&asking::own_witness(&replication)).is_empty() {
            // The primary may have given up what this node was told of, which counts unless it is there.
            fencing::inquire(&replication);
        }
        if let Some(recovery) = replication.recovery() {
            recovery.feed.receiver_streams();
        }
    }

    fn reconnects(&self) {
        if let Some(replication) = self.replication.upgrade() {
            replication.ground.log.log("WAL receiver process shutdown requested");
        }
    }

    fn failed(&self, error: &ReplicaError) {
        let Some(replication) = self.replication.upgrade() else { return };
        let hint = if is_astray(error) {
            let end = replication.log.state().written().get().max(1);
            _ = replication.astray_at.compare_exchange(0, end, Ordering::Relaxed, Ordering::Relaxed);
            self.way_back(&replication, error)
        } else {
            error.hint().map(Cow::into_owned)
        };
        let report =
            Report { detail: error.detail(), hint, ..Report::fatal(error.sqlstate(), error.to_string()) };
        replication.ground.log.write(None, &report, None);
        if let Some(recovery) = replication.recovery() {
            recovery.feed.receiver_failed();
        }
    }

    fn ended(&self, error: &ReplicaError) {
        if let Some(replication) = self.replication.upgrade() {
            let report = Report::fatal(error.sqlstate(), error.to_string());
            replication.ground.log.write(None, &report, None);
        }
    }

    fn followed(&self, history: &TimelineHistory) {
        let Some(replication) = self.replication.upgrade() else { return };
        replication.ground.log.log(format!("new target timeline is {}", history.target()));
        handover::settle(&replication.ground, "this server follows a later timeline");
    }

    fn cut(&self, cut: &CutTail, timeline: TimelineId) {
        let Some(replication) = self.replication.upgrade() else { return };
        replication.tell_cut(cut, timeline, "before following the primary");
    }

    fn mended(&self, part: &Range<Lsn>) {
        let Some(replication) = self.replication.upgrade() else { return };
        replication.ground.log.warning(format!(
            "WAL that was received before could not be read between {} and {}, and was replaced by that of the primary",
            part.start, part.end
        ));
    }

    fn confirmed(&self, upto: Lsn) {
        let Some(replication) = self.replication.upgrade() else { return };
        replication.database.commit_gate().confirm(upto);
    }

    fn told(&self, primary: &Peer) {
        if let Some(replication) = self.replication.upgrade() {
            asking::hear(&replication, "the primary", primary);
        }
    }

    fn is_own(&self, session: CancelKey) -> bool {
        let own = self.replication.upgrade().and_then(|replication| replication.sessions.get(session.pid));
        own.is_some_and(|own| own.key == session)
    }

    fn shares_id(&self) {
        if let Some(replication) = self.replication.upgrade() {
            replication.part_from_copy();
        }
    }

    fn asks_for_slots(&self, asks: bool) {
        if let Some(replication) = self.replication.upgrade() {
            replication.slots.await_upstream(asks);
        }
    }

    fn slots(&self, slots: &[UpstreamSlot]) {
        if let Some(replication) = self.replication.upgrade() {
            slots::copy(&replication, slots);
        }
    }

    fn handed_over(
        &self,
        end: Lsn,
        branch: Option<BranchId>,
        given_up: &GivenUp,
    ) -> Result<TimelineId, String> {
        let Some(replication) = self.replication.upgrade() else { return Err("it stops".to_owned()) };
        let judged = handover::judge(&replication, end, branch, given_up);
        match (&judged, replication.recovery()) {
            (Ok(_), Some(recovery)) => recovery.take_offer(end),
            (Ok(_), None) => {}
            (Err(why), _) => {
                let what = format!("the primary would hand over at {end}, which is refused: {why}");
                replication.ground.log.log(what);
            }
        }
        judged
    }

    fn lets_go(&self, why: &str) {
        if let Some(replication) = self.replication.upgrade() {
            let what = "this server does not take the primary's role over after all";
            replication.ground.log.warning(format!("{what}: {why}"));
        }
    }

    fn takes_over(&self) {
        if let Some(replication) = self.replication.upgrade() {
            replication.ground.log.log("the primary has handed its role over to this server");
            // The stream ends now, which is no reason to ask the archive.
            if let Some(recovery) = replication.recovery() {
                recovery.feed.close();
            }
        }
        (self.promote)();
    }

    fn oldest_xmin(&self) -> Option<Xid> {
        let replication = self.replication.upgrade()?;
        // What standbys of this standby need, it needs too.
        let others = replication.oldest_xmin();
        let confirmed = replication.recovery().is_some_and(|recovery| recovery.reads_confirmed());
        others.into_iter().chain([replication.database.feedback_xmin(confirmed)]).min()
    }
}

impl ReplayObserver for Observer {
    fn damaged(&self, at: Lsn, error: &ReadError) {
        let Some(replication) = self.replication.upgrade() else { return };
        replication
            .ground
            .log
            .warning(format!("{error}; replay goes on when it was received again from {at} on"));
    }

    fn torn(&self, end: &EndOfWal) {
        let Some(replication) = self.replication.upgrade() else { return };
        replication.ground.log.log(format!("WAL here ends at {}: {}", end.at, end.reason));
    }

    fn paused(&self) {
        let hint = Some("Execute pg_wal_replay_resume() to continue.".to_owned());
        let report = Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, "recovery has paused");
        let Some(replication) = self.replication.upgrade() else { return };
        replication.ground.log.write(None, &Report { hint, ..report }, None);
    }

    fn let_go(&self, held: Held) {
        let Some(replication) = self.replication.upgrade() else { return };
        replication.ground.log.log(match held {
            Held::Paused => "the promotion ends the pause of replay".to_owned(),
            Held::Delayed(left) => format!(
                "the promotion does not wait for recovery_min_apply_delay: commits that were received are replayed at \
                 once, the next {:.1} s before its time",
                left.as_secs_f64()
            ),
        });
    }

    fn waits_for_queries(&self, kind: ConflictKind, waited: Duration, over: bool) {
        let what = if over { "finished" } else { "still" };
        let milliseconds = waited.as_secs_f64() * 1e3;
        let Some(replication) = self.replication.upgrade() else { return };
        replication.ground.log.log(format!(
            "recovery {what} waiting after {milliseconds:.3} ms: recovery conflict on {}",
            kind.name()
        ));
    }

    fn gives_up(&self, conflict: &Conflict) -> u64 {
        let Some(replication) = self.replication.upgrade() else { return 0 };
        if host::planted!("a snapshot whose versions are gone reads on") {
            return 0;
        }
        let holders = match conflict {
            Conflict::Snapshot { .. } => BTreeSet::new(),
            Conflict::Lock { trees } => holders(&replication.database, trees),
        };
        let sessions = replication.sessions.list();
        let in_the_way = sessions.iter().filter(|session| match conflict {
            Conflict::Snapshot { horizon } => session.oldest_snapshot().is_some_and(|xid| xid < *horizon),
            Conflict::Lock { .. } => holders.contains(&session.key.pid),
        });
        in_the_way.map(|session| u64::from(session.give_way(conflict.kind()))).sum()
    }
}

/// The sessions that hold a lock on one of these trees.
fn holders(database: &Database, trees: &[TreeId]) -> BTreeSet<i32> {
    let locks = database.locks();
    let holds = |lock: &&LockInfo| match lock.target {
        LockTarget::Table(tree) => lock.granted && trees.contains(&tree),
        LockTarget::Row(..) => false,
    };
    locks.iter().filter(holds).map(|lock| lock.session).collect()
}
