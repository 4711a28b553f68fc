//! What replication keeps on this node, and the wiring of it: slots, outgoing streams, the quorum's rule, the
//! log that must stay for them, and, while the node is in recovery, what feeds redo.

pub(crate) mod asking;
pub(crate) mod background;
pub(crate) mod fencing;
pub(crate) mod handover;
pub(crate) mod ledger;
pub(crate) mod loss;
mod retention;
pub(crate) mod rewinding;
pub(crate) mod roster;
pub(crate) mod semi_sync;
pub(crate) mod slots;
pub(crate) mod standby;
pub(crate) mod unfence;

use crate::archive::Archive;
use crate::configuration::Ground;
use crate::connection::registry::Sessions;
use crate::error::ServerError;
use host::sync::RwLock;
use host::{Looks, Mutex};
use ledger::Ledger;
use replica::directory_id::{DIRECTORY_ID_FILE, DirectoryId};
use replica::driver::LogPlace;
use replica::roster::Roster;
use replica::roster::login::MemberLogin;
use replica::sender::streams::{SenderRow, Senders};
use replica::slots::{Slots, WalLimits};
use replica::sync::{SyncNames, SyncState};
use semi_sync::SemiSync;
use standby::Recovery;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{Database, Promoted};
use wal::history::TimelineHistory;
use wal::reader::CutTail;
use wal::{Lsn, NodeLog, TimelineId, Xid};

/// Replication of a node whose database is open.
pub(crate) struct Replication {
    pub(crate) ground: Arc<Ground>,
    pub(crate) database: Database,
    sessions: Arc<Sessions>,
    archive: Arc<Archive>,
    ledger: Ledger,
    pub(crate) slots: Slots,
    pub(crate) senders: Senders,
    /// This node's log as senders see it.
    pub(crate) log: NodeLog,
    /// Where it lies.
    pub(crate) place: LogPlace,
    /// How far the log here went when the receiver found that it goes on where the upstream's does not; 0 if
    /// that is not so.
    astray_at: AtomicU64,
    /// Slots invalidated since the start.
    pub(crate) slots_lost: AtomicU64,
    /// What the upstream said of its slots, as long as the copies are not that.
    unfinished_copies: Mutex<Option<slots::UnfinishedCopies>>,
    pub(crate) semi_sync: SemiSync,
    /// The nodes of the cluster, and how they are asked; None where the cluster has no secret.
    pub(crate) roster: Roster,
    pub(crate) member_login: Option<MemberLogin>,
    /// What of a fence is still to be done.
    fence: fencing::Pending,
    /// Held while the horizon is reckoned and set: two standbys' words must not pass each other.
    horizon: Mutex<()>,
    /// Looks at the clock, by which it is seen that this process did not run. Held while that is made good.
    looks: Mutex<Looks>,
    recovery: RwLock<Option<Arc<Recovery>>>,
    /// What had been received when recovery ended.
    last_receive_lsn: AtomicU64,
}

/// The slots of the data directory.
pub(crate) fn open_slots(ground: &Ground) -> Result<Slots, ServerError> {
    let max = usize::try_from(ground.config().max_replication_slots).unwrap_or(usize::MAX);
    let opened = Slots::open(&ground.host, &ground.data_dir.join("pg_replslot"), max);
    opened.map_err(|error| ServerError::new(error.to_string()))
}

/// When a standby cuts its log that turns to a later timeline of an archive.
pub(crate) const AT_LATER: &str = "before following a later timeline";

/// Why log is cut, for the ledger.
pub(crate) fn reason_of_cut(cut: &CutTail, timeline: TimelineId, when: &str) -> String {
    let what = match cut.whole_records {
        0 => "no whole record".to_owned(),
        count => format!("damage and {count} whole records behind it"),
    };
    format!("{what} of timeline {timeline}, cut {when}")
}

/// The same for the log.
pub(crate) fn line_of_cut(cut: &CutTail, reason: &str) -> String {
    format!("cut log from {} to {}: {reason}", cut.from, cut.upto)
}

impl Replication {
    /// Reads the slots, applies synchronous_standby_names, and tells the database which log to keep.
    pub(crate) fn open(
        archive: &Arc<Archive>,
        sessions: &Arc<Sessions>,
        database: &Database,
        log: NodeLog,
        place: LogPlace,
    ) -> Result<Arc<Self>, ServerError> {
        let ground = archive.ground.clone();
        let config = ground.config();
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let slots = open_slots(&ground)?;
        let gate = database.commit_gate().clone();
        let told = gate.clone();
        let senders = Senders::new(count(config.max_wal_senders), move |progress| told.set_remote(progress));
        // The gate last: nobody tells it of another branch any more when it forgets.
        log.observe(Arc::new(senders.clone()));
        log.observe(Arc::new(slots.clone()));
        log.observe(Arc::new(gate));
        senders.set_names(sync_names(&config)?);
        let roster = roster::open(&ground, database.is_in_recovery());
        let nonce = database.control().mock_authentication_nonce;
        let member_login = MemberLogin::new(&nonce, database.system_id());
        let looks = Mutex::new(Looks::since(ground.host.clock.monotonic()));
        let replication = Arc::new(Self {
            ledger: Ledger::new(&ground),
            ground,
            database: database.clone(),
            sessions: sessions.clone(),
            archive: archive.clone(),
            slots,
            senders,
            log,
            place,
            astray_at: AtomicU64::new(0),
            slots_lost: AtomicU64::new(0),
            unfinished_copies: Mutex::default(),
            semi_sync: SemiSync::default(),
            roster,
            member_login,
            fence: fencing::Pending::default(),
            horizon: Mutex::default(),
            looks,
            recovery: RwLock::new(None),
            last_receive_lsn: AtomicU64::new(0),
        });
        slots::invalidate_without_wal(&replication).map_err(|error| ServerError::new(error.to_string()))?;
        retention::apply(&replication);
        fencing::reserve(&replication);
        if !database.is_in_recovery() {
            slots::keep_copies(&replication);
        } else if !config.sync_replication_slots {
            slots::drop_copies(&replication);
        }
        // Standbys with a slot read on, whoever is there first.
        replication.update_horizon();
        Ok(replication)
    }

    /// Redo has ended at `at`, where the log of before is left: nothing that was told of later positions
    /// counts, and no slot says more than that on disk, since it would bar the next start.
    pub(crate) fn end_log(&self, at: Lsn) -> Result<(), ServerError> {
        let same = self.log.state().history.clone();
        self.log.branch(same, at).map_err(|error| ServerError::new(error.to_string()))?;
        self.save_slots()
    }

    /// The log that this start found ends at `at`. A slot of a standby may say more, of a log that it left
    /// while it was down.
    pub(crate) fn end_slots(&self, at: Lsn) -> Result<(), ServerError> {
        self.slots.end_at(at);
        self.save_slots()
    }

    fn save_slots(&self) -> Result<(), ServerError> {
        let saved = self.slots.save();
        saved.map_err(|error| ServerError::new(format!("could not save replication slots: {error}")))
    }

    /// The end of the log of a timeline is given up, which holds no whole record.
    pub(crate) fn tell_cut(&self, cut: &CutTail, timeline: TimelineId, when: &str) {
        let reason = reason_of_cut(cut, timeline, when);
        self.tell_left(cut, &reason);
    }

    /// The same of whole log that a promotion leaves behind its recovery target.
    pub(crate) fn tell_left_behind_target(&self, cut: &CutTail, timeline: TimelineId) {
        let count = cut.whole_records;
        let what = format!("{count} whole records behind the recovery target of timeline {timeline}");
        self.tell_left(cut, &format!("{what}, cut at the promotion"));
    }

    fn tell_left(&self, cut: &CutTail, reason: &str) {
        self.ledger.record("cut", (cut.from, cut.upto), reason);
        self.ground.log.log(line_of_cut(cut, reason));
    }

    /// Nobody here knows whether the standby that was offered the role took it, at the log's end.
    pub(crate) fn record_handover(&self, end: Lsn, reason: &str) {
        self.ledger.record("handover", (end, end), reason);
    }

    /// The node was promoted: its log goes on with its own writer.
    pub(crate) fn promoted(&self, promoted: &Promoted) -> Result<(), ServerError> {
        let history = TimelineHistory::load(&*self.place.disk, &self.place.pg_wal, promoted.timeline)
            .map_err(|error| ServerError::new(format!("could not read the new history: {error}")))?;
        let writer = self.database.wal().ok_or_else(|| ServerError::new("the log is not open"))?;
        self.log.promote(history, writer.clone(), promoted.switch_at);
        self.forget_directory_id();
        slots::keep_copies(self);
        Ok(())
    }

    /// This is a primary: copies of its directory are several standbys.
    pub(crate) fn forget_directory_id(&self) {
        match DirectoryId::forget(&self.ground.host, &self.ground.data_dir) {
            Ok(()) => self.roster.lead(true),
            Err(error) => {
                self.ground.log.warning(format!("could not remove file \"{DIRECTORY_ID_FILE}\": {error}"));
            }
        }
    }

    /// This standby follows a node of its own id: one of the two directories is a copy of the other. Neither
    /// would hear of the other while both are one.
    pub(crate) fn part_from_copy(&self) {
        let (log, shared) = (&self.ground.log, self.roster.own_id());
        let what = format!("the server that this standby follows has its id, {shared}");
        match DirectoryId::draw_anew(&self.ground.host, &self.ground.data_dir) {
            Ok(drawn) => {
                self.roster.part(drawn);
                log.warning(format!(
                    "{what}: one data directory is a copy of the other; this standby has id {drawn} from now on"
                ));
            }
            Err(error) => log.warning(format!(
                "{what}, and \"{DIRECTORY_ID_FILE}\" could not be written for another one: neither is fenced \
                 when the other replaces it: {error}"
            )),
        }
    }

    /// The rows of pg_stat_replication, for a log that ends at `end` now. No commit waits for those to whom a
    /// standby sends on.
    pub(crate) fn sender_rows(&self, end: Lsn) -> Vec<SenderRow> {
        let mut rows = self.senders.rows(end, self.ground.host.clock.now());
        if self.database.is_in_recovery() {
            for row in &mut rows {
                (row.priority, row.sync_state) = (0, SyncState::Async);
            }
        }
        rows
    }

    /// The oldest transaction that standbys' queries need.
    pub(crate) fn oldest_xmin(&self) -> Option<Xid> {
        self.slots.oldest_xmin().into_iter().chain(self.senders.oldest_xmin()).min()
    }

    /// After feedback came, or who gave it has gone: pruning keeps what standbys still need, and no more.
    pub(crate) fn update_horizon(&self) {
        let _one = self.horizon.lock();
        self.database.set_feedback_horizon(self.oldest_xmin());
    }

    /// Whom commits are to wait for by the settings, as text and read; None if that makes no sense.
    pub(crate) fn wanted_names(&self) -> Option<(String, Option<SyncNames>)> {
        if host::planted!("a reload leaves the old synchronous names") {
            return None;
        }
        let config = self.ground.config();
        match sync_names(&config) {
            Ok(names) => Some((config.synchronous_standby_names.to_string(), names)),
            Err(error) => {
                self.ground.log.warning(format!("synchronous_standby_names stays as it was: {error}"));
                None
            }
        }
    }

    /// Time in which this process did not run makes no node and no slot older: nobody could be heard
    /// meanwhile. To be called at least each [`slots::LOOK_INTERVAL`]. Whether nodes and slots can be judged
    /// now: not right after such a time, when what they said meanwhile may still wait to be read.
    fn note_run(&self) -> bool {
        let mut looks = self.looks.lock();
        let now = self.ground.host.clock.monotonic();
        let lost = looks.look(now, slots::LOOK_INTERVAL).lost;
        if !lost.is_zero() {
            self.roster.excuse(lost, now);
            self.slots.excuse(lost);
        }
        !looks.is_waking(now, slots::LOOK_INTERVAL)
    }

    /// Takes over reloaded settings.
    pub(crate) fn reload(&self) {
        let config = self.ground.config();
        // Nobody's commits wait for those of a standby. A primary takes over others in an order (semi_sync),
        // but for the first ones: of a log that names nobody no report says that nothing is lost.
        if (self.database.is_in_recovery() || self.senders.names().is_none())
            && let Some((_, names)) = self.wanted_names()
        {
            self.senders.set_names(names);
        }
        if !config.sync_replication_slots {
            slots::drop_copies(self);
        }
        semi_sync::apply_settings(self);
        self.senders.reloaded();
        if let Some(recovery) = self.recovery() {
            recovery.apply_settings();
        }
    }

    /// Nothing is recorded any more: the server ends.
    pub(crate) fn close_ledger(&self) {
        self.ledger.close();
    }

    /// The settings and positions that say which log is kept.
    pub(crate) fn limits(&self) -> WalLimits {
        let (config, database) = (self.ground.config(), &self.database);
        WalLimits {
            segment_size: database.control().segment_size,
            end: self.log.flushed(),
            last_removed: None,
            max_wal_size_bytes: config.max_wal_size_bytes,
            wal_keep_size_bytes: config.wal_keep_size_bytes,
            max_slot_wal_keep_size_bytes: config.max_slot_wal_keep_size_bytes,
        }
    }

    /// What feeds redo, while the node is in recovery.
    pub(crate) fn recovery(&self) -> Option<Arc<Recovery>> {
        self.recovery.read().clone()
    }
    /// Recovery is over: nothing feeds redo any more.
    pub(crate) fn leave_recovery(&self) {
        self.last_receive_lsn.store(self.last_receive_lsn().get(), Ordering::Release);
        *self.recovery.write() = None;
    }
    /// What pg_last_wal_receive_lsn() says: how far the log came from a primary and is durable; INVALID if
    /// none ever came. What was found here or fetched from an archive does not count: the log's end is
    /// `log.flushed()`.
    pub(crate) fn last_receive_lsn(&self) -> Lsn {
        match self.recovery() {
            Some(recovery) => recovery.last_receive_lsn(),
            None => Lsn::new(self.last_receive_lsn.load(Ordering::Acquire)),
        }
    }
}

fn sync_names(config: &settings::Config) -> Result<Option<SyncNames>, ServerError> {
    SyncNames::parse(&config.synchronous_standby_names).map_err(|error| {
        ServerError::new(format!("invalid value for parameter \"synchronous_standby_names\": {error}"))
    })
}
