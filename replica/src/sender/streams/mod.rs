//! All streams that leave this server: the rows of pg_stat_replication, and the quorum that commits wait for.
//!
//! One lock guards the table. Each report of a standby takes it for a moment, applies the rule of
//! synchronous_standby_names and passes the outcome on while it holds it, so outcomes arrive in order.
//!
//! A report counts as far as it can be true: up to what this stream has sent, and, once the log here has left
//! the branch that the stream was begun on, up to where it left it.
//!
//! Of several streams to one directory the newest counts alone, and none to a directory that was made anew
//! since (`directories.rs`).

mod directories;

use crate::directory_id::DirectoryId;
use crate::error::ReplicaError;
use crate::lag::{FlushClock, LagFigures, LagTracker, Pace, RoundTrips};
use crate::sender::handover::Handover;
use crate::sender::{Copying, SenderState};
use crate::sync::{Candidate, Progress, Standing, SyncNames, SyncState, evaluate};
use directories::StreamNode;
use durability::Stages;
use host::Mutex;
use host::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use storage::RemoteProgress;
use tokio::sync::watch;
use wal::{BranchObserver, Generations, LogState, Lsn, TimelineId, Xid};

/// Who a stream goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// pid
    pub pid: i32,
    /// usesysid
    pub user_oid: u32,
    /// usename
    pub user: String,
    /// application_name
    pub application_name: String,
    /// client_addr; None for a Unix socket
    pub client_addr: Option<String>,
    /// client_port; -1 for a Unix socket
    pub client_port: i32,
    /// backend_start
    pub backend_start: Timestamp,
    /// Whether the log is for a copy that is being made, which may never be finished: no commit counts on it.
    pub copy: Copying,
}

/// One row of pg_stat_replication, and what else is known of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct SenderRow {
    /// The stream, as long as it is there.
    pub stream: u64,
    /// Who it goes to.
    pub info: SenderInfo,
    /// The node's directory, if it said so.
    pub directory: Option<DirectoryId>,
    /// backend_xmin
    pub xmin: Option<Xid>,
    /// state
    pub state: SenderState,
    /// The timeline that is streamed.
    pub timeline: TimelineId,
    /// sent_lsn; INVALID for NULL
    pub sent: Lsn,
    /// write_lsn, flush_lsn, replay_lsn; INVALID for NULL
    pub progress: Progress,
    /// write_lag, flush_lag, replay_lag
    pub round_trips: RoundTrips,
    /// sync_priority
    pub priority: usize,
    /// sync_state
    pub sync_state: SyncState,
    /// The log is for a copy in the making, which is no standby.
    pub copying: bool,
    /// The standby says that it can be handed the primary's role.
    pub takes_over: bool,
    /// reply_time: the standby's clock in its last reply
    pub reply_time: Option<Timestamp>,
    /// Honest figures against the end of the log now.
    pub lag: LagFigures,
    /// Bytes that it replayed a second lately.
    pub replay_rate: Option<f64>,
    /// When it will have caught up if it goes on like this; None if never.
    pub catch_up: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    info: SenderInfo,
    state: SenderState,
    timeline: TimelineId,
    /// What this stream has sent, exclusive.
    sent: Lsn,
    /// That of the log which it sends.
    generation: u64,
    /// The standby claimed more than it was sent; that is logged once.
    overstated: bool,
    /// What the standby works on, if it has said so.
    directory: Option<DirectoryId>,
    /// The ids that this directory had before.
    formers: Vec<DirectoryId>,
    /// The name of the network in which it listens, if it has said so.
    network: Option<Box<[u8]>>,
    /// Whose directory it is, if it has said so.
    node: Option<StreamNode>,
    /// It can be handed the primary's role.
    takes_over: bool,
    /// There is a newer stream to its directory: what this one had sent when that came.
    replaced: Option<Lsn>,
    /// It was sent more and has it, so the directory has two servers; that is logged once.
    shared: bool,
    progress: Progress,
    tracker: LagTracker,
    pace: Pace,
    round_trips: RoundTrips,
    reply_time: Option<Timestamp>,
    last_reply: Option<Timestamp>,
    xmin: Option<Xid>,
}

type OnProgress = Box<dyn Fn(RemoteProgress) + Send + Sync>;

struct Table {
    entries: BTreeMap<u64, Entry>,
    /// What the directories of streams that ended had of the log as it is now.
    left: BTreeMap<DirectoryId, Lsn>,
    next_key: u64,
    names: Option<SyncNames>,
    /// What the quorum has reached of the log as it is now.
    synced: Progress,
    /// A quorum counts once it has the log up to here: what says that these names are in force.
    counts_from: Lsn,
    /// Those of the log.
    generations: Generations,
    clock: FlushClock,
    max: usize,
}

struct Shared {
    table: Mutex<Table>,
    on_progress: OnProgress,
    /// How many streams there are, for a stop that waits for them.
    count: watch::Sender<usize>,
    /// The stages that some commit waits for. Plimsoll standbys report the others unhurriedly.
    awaited: watch::Sender<Stages>,
    /// A standby is about to take over.
    handover: watch::Sender<Option<Arc<Handover>>>,
}

/// The table; cloning shares it.
#[derive(Clone)]
pub struct Senders(Arc<Shared>);

impl fmt::Debug for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Senders").field("count", &*self.0.count.borrow()).finish_non_exhaustive()
    }
}

/// One stream's place in the table; it leaves the table when this is dropped.
#[derive(Debug)]
pub struct SenderHandle {
    senders: Senders,
    key: u64,
}

impl Senders {
    /// An empty table for at most `max` streams (max_wal_senders). `on_progress` gets what the quorum has
    /// reached, each time that it may have changed; usually it is [`storage::CommitGate::set_remote`]. It
    /// must not call back.
    pub fn new(max: usize, on_progress: impl Fn(RemoteProgress) + Send + Sync + 'static) -> Self {
        let table = Table {
            entries: BTreeMap::new(),
            left: BTreeMap::new(),
            next_key: 0,
            names: None,
            synced: Progress::default(),
            counts_from: Lsn::INVALID,
            generations: Generations::default(),
            clock: FlushClock::default(),
            max,
        };
        Self(Arc::new(Shared {
            table: Mutex::new(table),
            on_progress: Box::new(on_progress),
            count: watch::Sender::new(0),
            awaited: watch::Sender::new(Stages::ALL),
            handover: watch::Sender::new(None),
        }))
    }

    /// Takes over a (re)loaded synchronous_standby_names.
    pub fn set_names(&self, names: Option<SyncNames>) {
        self.set_names_from(names, Lsn::INVALID);
    }

    /// The same. Whoever is named counts once it has the log up to `from`, which says so: nothing is
    /// acknowledged by these names that a report by the former ones could take for unconfirmed.
    pub fn set_names_from(&self, names: Option<SyncNames>, from: Lsn) {
        let mut table = self.0.table.lock();
        (table.names, table.counts_from) = (names, from);
        self.recompute(&mut table);
    }

    /// The rule in force.
    pub fn names(&self) -> Option<SyncNames> {
        self.0.table.lock().names.clone()
    }

    /// Adds a stream, when its connection begins.
    ///
    /// # Errors
    ///
    /// Fails if max_wal_senders streams are there.
    pub fn register(&self, info: SenderInfo) -> Result<SenderHandle, ReplicaError> {
        let mut table = self.0.table.lock();
        if table.entries.len() >= table.max {
            return Err(ReplicaError::SendersFull(table.max));
        }
        let key = table.add(Entry::new(info));
        let count = table.entries.len();
        drop(table);
        self.0.count.send_replace(count);
        Ok(SenderHandle { senders: self.clone(), key })
    }

    /// How many streams there are; a stop waits for 0.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }

    /// Tells the clock of lag figures that the log ends at `end`. Streams do so too; the server calls it for
    /// times without streams that send.
    pub fn note_flushed(&self, end: Lsn, now: Timestamp) {
        self.0.table.lock().clock.note(end, now);
    }

    /// Which stages commits wait for now; all until this is called.
    pub fn set_awaited(&self, awaited: Stages) {
        self.0.awaited.send_if_modified(|known| std::mem::replace(known, awaited) != awaited);
    }

    /// Has the stream of a handover take part in it; false if there is another.
    pub fn hand_over(&self, handover: &Arc<Handover>) -> bool {
        self.0.handover.send_if_modified(|now| {
            let free = now.is_none();
            if free {
                *now = Some(handover.clone());
            }
            free
        })
    }

    /// No handover is on its way any more.
    pub fn end_handover(&self) {
        self.0.handover.send_replace(None);
    }

    /// Settings changed: has each stream ask for its times again.
    pub fn reloaded(&self) {
        self.0.awaited.send_modify(|_| {});
    }

    /// What the quorum has reached; INVALID where nothing yet.
    pub fn synced(&self) -> Progress {
        self.0.table.lock().synced
    }

    /// The oldest transaction that standbys without a slot need.
    pub fn oldest_xmin(&self) -> Option<Xid> {
        self.0.table.lock().entries.values().filter_map(|entry| entry.xmin).min()
    }

    /// The rows of pg_stat_replication, for a log that ends at `end` now. Oldest stream first.
    pub fn rows(&self, end: Lsn, now: Timestamp) -> Vec<SenderRow> {
        let table = self.0.table.lock();
        let standings = table.standings();
        let row = |((stream, entry), standing): ((&u64, &Entry), Standing)| SenderRow {
            stream: *stream,
            info: entry.info.clone(),
            directory: entry.directory,
            xmin: entry.xmin,
            state: entry.state,
            timeline: entry.timeline,
            sent: entry.sent,
            progress: entry.shown_progress(),
            round_trips: entry.round_trips,
            priority: standing.priority,
            sync_state: match standing.state {
                SyncState::Potential if host::planted!("who is next in line is shown as synchronous") => {
                    SyncState::Sync
                }
                state => state,
            },
            copying: entry.is_copy(),
            takes_over: entry.takes_over,
            reply_time: entry.reply_time,
            replay_rate: entry.pace.replay_rate(entry.progress.replayed, end, now),
            catch_up: entry.pace.catch_up(entry.progress.replayed, end, now),
            lag: LagFigures::new(&table.clock, end, entry.sent, entry.progress, entry.last_reply, now),
        };
        table.entries.iter().zip(standings).map(row).collect()
    }

    /// A stream is none any more.
    fn left(&self, table: &mut Table) {
        table.find_replaced();
        if !host::planted!("the next in line is not asked when a synchronous standby leaves") {
            self.recompute(table);
        }
    }

    fn recompute(&self, table: &mut Table) {
        let required = table.names.is_some();
        let candidates: Vec<_> = table.entries.values().map(Entry::candidate).collect();
        if let Some(reached) = evaluate(table.names.as_ref(), &candidates).synced {
            table.synced = table.synced.max(reached.from(table.counts_from));
        }
        let Progress { written, flushed, replayed } = table.synced;
        (self.0.on_progress)(RemoteProgress { required, written, flushed, replayed });
    }
}

impl BranchObserver for Senders {
    fn branched(&self, state: &LogState) {
        if host::planted!("reports are kept over a change of branch") {
            return;
        }
        let mut table = self.0.table.lock();
        let kept = state.kept();
        table.generations = state.generations.clone();
        table.left.values_mut().for_each(|held| *held = (*held).min(kept));
        table.synced = table.synced.up_to(kept);
        table.counts_from = table.counts_from.min(kept);
        table.clock.cut(kept);
        for entry in table.entries.values_mut() {
            entry.progress = entry.progress.up_to(kept);
            if entry.sent > kept {
                // The stream ends: it has sent what is no part of this log.
                (entry.sent, entry.tracker, entry.pace) = (kept, LagTracker::default(), Pace::default());
            }
        }
        self.recompute(&mut table);
    }
}

impl Table {
    fn add(&mut self, entry: Entry) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.entries.insert(key, entry);
        key
    }

    fn standings(&self) -> Vec<Standing> {
        let candidates: Vec<_> = self.entries.values().map(Entry::candidate).collect();
        evaluate(self.names.as_ref(), &candidates).standings
    }
}

impl Entry {
    /// That of a stream that has not begun.
    fn new(info: SenderInfo) -> Self {
        Self {
            info,
            state: SenderState::Startup,
            timeline: TimelineId::INVALID,
            sent: Lsn::INVALID,
            generation: 0,
            overstated: false,
            directory: None,
            formers: Vec::new(),
            network: None,
            node: None,
            takes_over: false,
            replaced: None,
            shared: false,
            progress: Progress::default(),
            tracker: LagTracker::default(),
            pace: Pace::default(),
            round_trips: RoundTrips::default(),
            reply_time: None,
            last_reply: None,
            xmin: None,
        }
    }

    /// As much of a report as can be true.
    fn believed(&self, progress: Progress, generations: &Generations) -> Progress {
        let all = host::planted!("a report counts for more than was sent on the branch");
        let kept = generations.kept_since(self.generation);
        progress.up_to(if all { Lsn::MAX } else { self.sent.min(kept) })
    }

    /// What pg_stat_replication shows of it.
    fn shown_progress(&self) -> Progress {
        let sent = host::planted!("what was sent is shown as flushed");
        Progress { flushed: if sent { self.sent } else { self.progress.flushed }, ..self.progress }
    }

    fn is_copy(&self) -> bool {
        let is_copy = match self.info.copy {
            Copying::No => false,
            Copying::Perhaps => !self.progress.replayed.is_valid(),
            Copying::Yes => true,
        };
        is_copy && !host::planted!("a clone in the making counts")
    }

    fn candidate(&self) -> Candidate<'_> {
        let is_replaced =
            self.replaced.is_some() && !host::planted!("a standby counts once for each of its connections");
        let is_displaced = self.node.as_ref().is_some_and(StreamNode::is_displaced);
        Candidate {
            name: &self.info.application_name,
            streaming: self.state.counts_for_sync() && !self.is_copy() && !is_replaced && !is_displaced,
            progress: self.progress,
        }
    }
}

impl SenderHandle {
    fn with<T>(&self, change: impl FnOnce(&mut Table, u64) -> T) -> T {
        change(&mut self.senders.0.table.lock(), self.key)
    }

    /// The stream's state, as the machine has it, and its timeline.
    pub fn set_state(&self, state: SenderState, timeline: TimelineId) {
        let mut table = self.senders.0.table.lock();
        let Some(entry) = table.entries.get_mut(&self.key) else { return };
        let before = std::mem::replace(&mut entry.state, state);
        entry.timeline = timeline;
        if before.counts_for_sync() != state.counts_for_sync() {
            self.senders.recompute(&mut table);
        }
    }

    /// The standby says that it can be handed the primary's role.
    pub fn set_takes_over(&self) {
        self.with(|table, key| {
            if let Some(entry) = table.entries.get_mut(&key) {
                entry.takes_over = true;
            }
        });
    }

    /// Handovers, to this standby or another; the one that is there has not been looked at.
    pub fn handovers(&self) -> watch::Receiver<Option<Arc<Handover>>> {
        let mut handovers = self.senders.0.handover.subscribe();
        handovers.mark_changed();
        handovers
    }

    /// Whether a handover is to this standby.
    pub fn is_of(&self, handover: &Handover) -> bool {
        handover.stream() == self.key
    }

    /// A stream begins at `start`, of the log as it was in this generation.
    pub fn begin(&self, start: Lsn, generation: u64) {
        self.with(|table, key| {
            if let Some(entry) = table.entries.get_mut(&key) {
                (entry.sent, entry.generation) = (start, generation);
                entry.progress = entry.believed(entry.progress, &table.generations);
            }
        });
    }

    /// The stream goes on in the log of this generation, of which it has sent nothing that is not part of it.
    pub fn follow(&self, generation: u64) {
        self.with(|table, key| {
            if let Some(entry) = table.entries.get_mut(&key) {
                entry.generation = generation;
            }
        });
    }

    /// WAL up to `upto` went out.
    pub fn on_sent(&self, upto: Lsn, now: Timestamp) {
        self.with(|table, key| {
            table.clock.note(upto, now);
            if let Some(entry) = table.entries.get_mut(&key) {
                entry.sent = entry.sent.max(upto);
                entry.tracker.on_sent(upto, now);
            }
        });
    }

    /// What is believed of a report, and whether this is the stream's first that claims more than it was
    /// sent.
    pub fn believe(&self, progress: Progress) -> (Progress, bool) {
        self.with(|table, key| {
            let Some(entry) = table.entries.get_mut(&key) else { return (Progress::default(), false) };
            let believed = entry.believed(progress, &table.generations);
            let overstates = believed != progress && entry.generation == table.generations.current();
            (believed, overstates && !std::mem::replace(&mut entry.overstated, true))
        })
    }

    /// The standby reported these positions, of which as much counts as is believed; `clock` is its own,
    /// `now` ours. Gives the directory if this is the first report that proves that it has two servers.
    pub fn on_reply(&self, progress: Progress, clock: Timestamp, now: Timestamp) -> Option<DirectoryId> {
        let mut table = self.senders.0.table.lock();
        let end = table.clock.end();
        let Table { entries, generations, .. } = &mut *table;
        let entry = entries.get_mut(&self.key)?;
        let progress = entry.believed(progress, generations);
        entry.pace.note(progress.replayed, end.max(progress.replayed), now);
        let before = std::mem::replace(&mut entry.progress, progress);
        let Progress { written, flushed, replayed } = progress;
        entry.round_trips = entry.tracker.on_reply(written, flushed, replayed, entry.sent, now);
        entry.reply_time = Some(clock);
        entry.last_reply = Some(now);
        let shares = entry.replaced.is_some_and(|sent| written > sent);
        let shared = entry.directory.filter(|_| shares && !std::mem::replace(&mut entry.shared, true));
        if before != progress && entry.state.counts_for_sync() {
            self.senders.recompute(&mut table);
        }
        shared
    }

    /// The oldest transaction that the standby's queries need; for streams without a slot.
    pub fn set_xmin(&self, xmin: Option<Xid>) {
        self.with(|table, key| {
            if let Some(entry) = table.entries.get_mut(&key) {
                entry.xmin = xmin;
            }
        });
    }

    /// The stream has ended, and its connection may ask for the next one, which keeps what the standby's
    /// queries need.
    pub fn rest(&self) {
        self.with(|table, key| {
            table.note_left(key);
            if let Some(entry) = table.entries.get_mut(&key) {
                *entry = Entry { xmin: entry.xmin, ..Entry::new(entry.info.clone()) };
            }
            self.senders.left(table);
        });
    }

    /// The next stream of the connection, after all that have begun since.
    pub fn again(&mut self, info: SenderInfo) {
        let mut table = self.senders.0.table.lock();
        let xmin = table.entries.remove(&self.key).and_then(|entry| entry.xmin);
        self.key = table.add(Entry { xmin, ..Entry::new(info) });
    }

    /// Which stages commits wait for.
    pub fn awaited(&self) -> watch::Receiver<Stages> {
        self.senders.0.awaited.subscribe()
    }

    /// How many streams there are, this one among them.
    pub fn streams(&self) -> watch::Receiver<usize> {
        self.senders.count()
    }
}

impl Drop for SenderHandle {
    fn drop(&mut self) {
        let mut table = self.senders.0.table.lock();
        table.note_left(self.key);
        table.entries.remove(&self.key);
        self.senders.left(&mut table);
        let count = table.entries.len();
        drop(table);
        self.senders.0.count.send_replace(count);
    }
}

#[cfg(test)]
mod tests;
