//! What replication keeps on this node: slots, outgoing streams, the quorum's rule, and which log must stay for them.

use crate::ServerError;
use crate::node::Node;
use crate::{slots, standby};
use protocol::{Report, SqlState};
use replica::ReplicaError;
use replica::driver::LogPlace;
use replica::sender::streams::Senders;
use replica::slots::{Slots, WalLimits};
use replica::sync::SyncNames;
use std::borrow::Cow;
use std::sync::{Arc, Weak};
use storage::{Database, Promoted, WalRetention};
use wal::history::TimelineHistory;
use wal::{Lsn, NodeLog, SegmentFate, SegmentFile, Xid};

/// Slots and streams of a node.
pub(crate) struct Replicas {
    pub(crate) slots: Slots,
    pub(crate) senders: Senders,
    /// This node's log as senders see it.
    pub(crate) log: NodeLog,
    /// Where it lies.
    pub(crate) place: LogPlace,
}

impl Replicas {
    /// Reads the slots, applies synchronous_standby_names, and tells the database which log to keep.
    pub(crate) fn open(
        node: &Arc<Node>,
        database: &Database,
        log: NodeLog,
        place: LogPlace,
    ) -> Result<Self, ServerError> {
        let config = node.config();
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let dir = node.data_dir.join("pg_replslot");
        let slots = Slots::open(&node.host, &dir, count(config.max_replication_slots))
            .map_err(|error| ServerError::new(error.to_string()))?;
        let gate = database.commit_gate().clone();
        let told = gate.clone();
        let senders = Senders::new(count(config.max_wal_senders), move |progress| told.set_remote(progress));
        // The gate last: nobody tells it of another branch any more when it forgets.
        log.observe(Arc::new(senders.clone()));
        log.observe(Arc::new(slots.clone()));
        log.observe(Arc::new(gate));
        senders.set_names(sync_names(&config)?);
        database.set_retention(Arc::new(KeepForReplicas { node: Arc::downgrade(node) }));
        let replicas = Self { slots, senders, log, place };
        if !database.is_in_recovery() {
            replicas.keep_copied_slots(node);
        } else if !config.sync_replication_slots {
            slots::drop_copies(node, &replicas);
        }
        Ok(replicas)
    }

    /// Redo has ended at `at`, where the log of before is left: nothing that was told of later positions counts, and no slot says more
    /// than that on disk, since it would bar the next start.
    pub(crate) fn end_log(&self, at: Lsn) -> Result<(), ServerError> {
        self.log.branch(self.log.state().history.clone(), at);
        let saved = self.slots.save();
        saved.map_err(|error| ServerError::new(format!("could not save replication slots: {error}")))
    }

    /// The node was promoted: its log goes on with its own writer.
    pub(crate) fn promoted(
        &self,
        node: &Node,
        database: &Database,
        promoted: &Promoted,
    ) -> Result<(), ServerError> {
        let history = TimelineHistory::load(&*self.place.disk, &self.place.pg_wal, promoted.timeline)
            .map_err(|error| ServerError::new(format!("could not read the new history: {error}")))?;
        let writer = database.wal().ok_or_else(|| ServerError::new("the log is not open"))?;
        self.log.promote(history, writer.clone(), promoted.switch_at);
        self.keep_copied_slots(node);
        Ok(())
    }

    /// This node takes writes: copies of another node's slots are its own from now on.
    pub(crate) fn keep_copied_slots(&self, node: &Node) {
        if let Err(error) = self.slots.keep_copies() {
            node.log
                .warning(format!("could not write copied replication slots as this server's own: {error}"));
        }
    }

    /// The oldest transaction that standbys' queries need.
    pub(crate) fn oldest_xmin(&self) -> Option<Xid> {
        self.slots.oldest_xmin().into_iter().chain(self.senders.oldest_xmin()).min()
    }

    /// Takes over reloaded settings.
    pub(crate) fn reload(&self, node: &Node) {
        match sync_names(&node.config()) {
            Ok(names) => self.senders.set_names(names),
            Err(error) => node.log.warning(format!("synchronous_standby_names stays as it was: {error}")),
        }
        if !node.config().sync_replication_slots {
            slots::drop_copies(node, self);
        }
    }
}

fn sync_names(config: &settings::Config) -> Result<Option<SyncNames>, ServerError> {
    SyncNames::parse(&config.synchronous_standby_names).map_err(|error| {
        ServerError::new(format!("invalid value for parameter \"synchronous_standby_names\": {error}"))
    })
}

/// The settings and positions that say which log is kept.
pub(crate) fn limits(node: &Node, database: &Database) -> WalLimits {
    let config = node.config();
    let end = database.durable_end();
    WalLimits {
        segment_size: database.control().segment_size,
        end: end.max(node.received()),
        last_removed: None,
        max_wal_size_bytes: config.max_wal_size_bytes,
        wal_keep_size_bytes: config.wal_keep_size_bytes,
        max_slot_wal_keep_size_bytes: config.max_slot_wal_keep_size_bytes,
    }
}

/// Asked by each checkpoint. Holds the node weakly, since the database holds this.
struct KeepForReplicas {
    node: Weak<Node>,
}

impl WalRetention for KeepForReplicas {
    fn needed_from(&self, redo: Lsn) -> Lsn {
        let Some(node) = self.node.upgrade() else { return redo };
        let (Some(database), Some(replicas)) = (node.database(), node.replicas()) else { return redo };
        if let Err(error) = replicas.slots.save() {
            // A slot that is not saved may hold back more than its file says, never less.
            node.log.warning(format!("could not save replication slots: {error}"));
        }
        let limits = limits(&node, database);
        let keep = limits.segment_size.start_of(limits.keep_from(redo, replicas.slots.oldest()));
        slots::invalidate_before(&node, replicas, keep);
        keep.min(redo)
    }

    fn fate(&self, segment: SegmentFile) -> SegmentFate {
        let Some(node) = self.node.upgrade() else { return SegmentFate::Reusable };
        let Some(replicas) = node.replicas() else { return SegmentFate::Reusable };
        match node.archiver() {
            Some(archiver) if !archiver.may_go(segment, &replicas.log.state()) => SegmentFate::Kept,
            _ => replicas.place.fate(segment),
        }
    }

    fn removed(&self) {
        let Some(node) = self.node.upgrade() else { return };
        if let Some(archiver) = node.archiver() {
            archiver.forget_removed();
        }
        if let Some(replicas) = node.replicas()
            && let Err(error) = replicas.place.forget_removed()
        {
            node.log.warning(error.to_string());
        }
    }

    fn made(&self, name: &str) {
        let node = self.node.upgrade();
        if let Some(archiver) = node.as_ref().and_then(|node| node.archiver()) {
            // Backups of a standby leave no history file, so whoever makes one is a primary, or about to be one.
            archiver.finished(name, false);
        }
    }

    fn restartpoint_done(&self) {
        if let Some(node) = self.node.upgrade() {
            // What a stop leaves of it, the next restartpoint's does.
            let _ = standby::run_recovery_command(&node, "archive_cleanup_command");
        }
    }
}

/// After feedback came, or who gave it has gone: pruning keeps what standbys still need, and no more.
pub(crate) fn update_horizon(node: &Node) {
    if let (Some(database), Some(replicas)) = (node.database(), node.replicas()) {
        database.set_feedback_horizon(replicas.oldest_xmin());
    }
}

/// A refusal of replication as a client sees it.
pub(crate) fn report(error: &ReplicaError) -> Report {
    let report = Report::error(SqlState::new(error.sqlstate()), error.to_string());
    Report { detail: error.detail(), hint: error.hint().map(Cow::into_owned), ..report }
}
