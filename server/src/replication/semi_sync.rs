//! Semi-synchronous operation: a commit that waits for longer than plimsoll.synchronous_timeout makes the
//! server fall back to what its standbys still reach, until they have kept up with the log for as long.
//!
//! Storage tells of stalls and returns ([`storage::CommitGate`]); here each is recorded before anybody is
//! told of a commit by it: in the log (so standbys and whoever is promoted know), in this node's ledger, as a
//! line, and in the counters of plimsoll_stat_sync.
//!
//! So it is with whom commits wait for: other names come into force once the log says that what it named so
//! far binds the primary no more, and are named there as soon as all that waited for the former ones is
//! decided.

use super::Replication;
use super::background::NOBODY_NAMED;
use super::ledger::{LedgerEntry, read_ledger};
use super::rewinding::DISCARDED;
use super::standby::settings::follows_as_named;
use crate::state::NodeState;
use crate::tasks::blocking;
use host::sync::Mutex;
use replica::sync::SyncNames;
use std::sync::Arc;
use std::time::Duration;
use storage::{Fallback, PrimaryRecord, Resumed, Stall, SyncLevel, SyncRecord};
use tokio::sync::watch;
use wal::Lsn;

/// Time between two tries to log what the log did not take.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What plimsoll_stat_sync shows of this server's life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) fallbacks: u64,
    pub(crate) returns: u64,
    pub(crate) releases: u64,
}

/// What is known of fallbacks, and who guards it.
#[derive(Debug, Default)]
pub(crate) struct SemiSync(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    counts: Counts,
    /// The ledger has a fallback that begins behind this and lasts.
    lasts_after: Option<Lsn>,
}

impl SemiSync {
    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().counts
    }

    /// Commits were released without their standbys' confirmation.
    pub(super) fn note_release(&self) {
        self.0.lock().counts.releases += 1;
    }
}

/// Takes over (re)loaded settings: at once that commits wait for ever. That they do not comes into force with
/// its record ([`Mode::note_rule`]): a standby is to know what may be acknowledged without it.
pub(super) fn apply_settings(replication: &Replication) {
    if replication.ground.config().synchronous_timeout.is_none() {
        replication.database.commit_gate().set_patience(None);
    }
}

/// Minds the server's mode while it takes writes.
pub(super) async fn run(replication: Arc<Replication>, mut states: watch::Receiver<NodeState>) {
    if states.wait_for(|state| *state == NodeState::Running).await.is_err() {
        return;
    }
    let gate = replication.database.commit_gate().clone();
    // A reload while the mode begins is none that it has seen.
    let mut reloads = replication.ground.reloads();
    let mut mode = Mode {
        replication: &replication,
        state: SyncRecord::default(),
        is_logged: true,
        turns: false,
        is_due: false,
    };
    mode.begin().await;
    loop {
        tokio::select! {
            biased;
            resumed = gate.resumed() => mode.returned(resumed).await,
            changed = reloads.changed() => {
                if changed.is_err() {
                    return;
                }
                let timeout = replication.ground.config().synchronous_timeout;
                if timeout.is_none() && let Some(resumed) = gate.resume() {
                    mode.returned(resumed).await;
                }
                mode.take_names().await;
            }
            () = tokio::time::sleep(RETRY_INTERVAL), if mode.is_due => mode.take_names().await,
            stall = gate.stalled() => {
                if replication.database.fenced().is_some() {
                    // Nothing is acknowledged any more: there is nothing to fall back to.
                    return;
                }
                if !gate.goes_by(replication.ground.config().synchronous_timeout) {
                    // A reload has come meanwhile, which goes first.
                    mode.take_names().await;
                    if mode.is_due {
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                    continue;
                }
                match mode.fall_back(stall).await {
                    Put::Done => {}
                    // The stall lasts, and is told again. Other names may end it.
                    Put::Refused => {
                        tokio::time::sleep(RETRY_INTERVAL).await;
                        if mode.is_due {
                            mode.take_names().await;
                        }
                    }
                    Put::Over => return,
                }
            }
        }
    }
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    Done,
    /// The log takes nothing at this time, as of a full disk. What was to be in force by the record is not.
    Refused,
    /// It never takes anything again: the server ends.
    Over,
}

struct Mode<'a> {
    replication: &'a Replication,
    /// As it is in force.
    state: SyncRecord,
    /// Whether the log has just that.
    is_logged: bool,
    /// Other names are in force than the log has.
    turns: bool,
    /// What the settings say is not all in force and in the log: it is tried again.
    is_due: bool,
}

/// A primary is about to take writes. If it is to go by other names than its log says, the log says first
/// that those bind it no more; as long as it does not take that, they do.
pub(crate) async fn before_writes(replication: &Arc<Replication>) {
    let database = replication.database.clone();
    let read =
        blocking(move || Ok::<_, storage::Error>((database.primary_record()?, database.sync_record()?)));
    let (said, logged) = match read.await {
        Ok(Ok((Some(said), logged))) => (said, logged),
        // Nobody goes by a rule that the log does not have.
        Ok(Ok((None, _))) | Err(_) => return,
        Ok(Err(error)) => return replication.ground.log.warning(error.to_string()),
    };
    let names = replication.ground.config().synchronous_standby_names.to_string();
    if said.timeline != replication.database.timeline() || logged.names == names {
        return;
    }
    let turning = PrimaryRecord { may_fall_back: true, ..said };
    match replication.database.put_primary_record(turning).await {
        Ok(()) => {
            let (names, said_by) = (replication.senders.names(), replication.log.flushed());
            replication.senders.set_names_from(names, said_by);
        }
        Err(error) => {
            replication.ground.log.warning(format!("{NAMES_WAIT}: {error}"));
            // By names that are cut off no report proves anything.
            if logged.has_all_names()
                && let Ok(names) = SyncNames::parse(&logged.names)
            {
                replication.senders.set_names(names);
            }
        }
    }
}

/// A fallback of this node.
#[derive(Clone, Copy)]
struct BegunHere {
    after: Lsn,
    /// Where a rewind has left its log since; MAX if none has.
    left_at: Lsn,
}

impl BegunHere {
    const fn at(after: Lsn) -> Self {
        Self { after, left_at: Lsn::MAX }
    }
}

/// Why synchronous_standby_names are not in force yet.
const NAMES_WAIT: &str =
    "could not log that synchronous_standby_names change, which come into force when it is possible";

impl Mode<'_> {
    /// What the log says from before: a fallback that the end of the server, or of its primary, has cut off
    /// is over.
    async fn begin(&mut self) {
        let (database, now) = (self.replication.database.clone(), self.replication.ground.host.clock.now());
        let read = blocking(move || database.sync_record()).await;
        match read {
            Ok(Ok(state)) => self.state = state,
            Ok(Err(error)) => self.replication.ground.log.warning(error.to_string()),
            Err(_) => return,
        }
        let end = self.replication.log.flushed();
        let timeline = self.replication.database.timeline();
        let mut state = self.state.clone();
        let begun_here = self.begun_here().await;
        let lasted = state.open().map(|open| {
            open.ended = Some((now, end));
            (open.after, open.timeline == timeline)
        });
        // The log may say that it began before.
        let is_ours = |after: Lsn| begun_here.is_some_and(|ours| after <= ours.after);
        let own = lasted.filter(|(after, is_own)| *is_own || is_ours(*after)).map(|(after, _)| after);
        if let Some(BegunHere { after, left_at }) = begun_here.or(own.map(BegunHere::at)) {
            // Another primary may have put its end into the log. One that began before may reach as far.
            let fits = |known: &&Fallback| {
                known.after <= after && known.ended.is_some_and(|(_, upto)| upto >= after)
            };
            let known = state.fallbacks.iter().rev().find(fits).and_then(|known| known.ended);
            // Of a log that was left nothing more is here, however far this one goes.
            let upto = known.map_or(end, |(_, upto)| upto).min(left_at).max(after);
            let reason = "the last run of this server ended before its standbys had kept up";
            self.replication.ledger.record("return", (after, upto), reason);
            self.tell_ended("this server's last run", after, upto);
        }
        if let Some((after, _)) = lasted.filter(|_| own.is_none()) {
            self.tell_ended("the primary of before", after, end);
        }
        if lasted.is_some() {
            self.change(state).await;
        }
        self.take_names().await;
    }

    fn tell_ended(&self, whose: &str, after: Lsn, end: Lsn) {
        self.replication.ground.log.warning(format!(
            "{whose} acknowledged commits after {after} without its synchronous standbys; \
             what it had beyond {end} is not here"
        ));
    }

    /// The fallback that this node's ledger has last, if it has no end of it.
    async fn begun_here(&self) -> Option<BegunHere> {
        let ground = self.replication.ground.clone();
        let read = blocking(move || read_ledger(&ground.host, &ground.data_dir)).await;
        let entries = match read {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                self.replication.ground.log.warning(format!("could not read plimsoll/ledger: {error}"));
                return None;
            }
            Err(_) => return None,
        };
        let ends = |entry: &LedgerEntry| match entry.event.as_str() {
            "fallback" => Some(false),
            "return" => Some(true),
            // Nobody was named any more, so none of it waited on.
            "released" if entry.reason == NOBODY_NAMED => Some(true),
            _ => None,
        };
        let (at, is_over) =
            entries.iter().enumerate().rev().find_map(|(at, entry)| Some((at, ends(entry)?)))?;
        let (last, later) = entries.get(at..)?.split_first()?;
        let rewinds = later.iter().filter(|entry| entry.event == DISCARDED);
        let left_at = rewinds.map(|entry| entry.after).min().unwrap_or(Lsn::MAX);
        (!is_over).then_some(BegunHere { after: last.after, left_at })
    }

    /// Puts what is in force from now on, come what may, into the log.
    async fn change(&mut self, state: SyncRecord) {
        self.state = state.clone();
        self.put(state).await;
    }

    async fn put(&mut self, state: SyncRecord) -> Put {
        let was_logged = std::mem::replace(&mut self.is_logged, false);
        match self.replication.database.put_sync_record(state).await {
            Ok(()) => {
                self.is_logged = true;
                Put::Done
            }
            Err(storage::Error::Shutdown) => Put::Over,
            Err(error) => {
                if was_logged {
                    let what =
                        "could not log the state of synchronous replication, and will when it is possible";
                    self.replication.ground.log.warning(format!("{what}: {error}"));
                }
                Put::Refused
            }
        }
    }

    /// Other names come into force once the log says that those which it has bind this primary no more.
    async fn take_names(&mut self) {
        let (names, wanted) = match self.replication.wanted_names() {
            Some(wanted) => wanted,
            None => (self.state.names.clone(), self.replication.senders.names()),
        };
        if self.replication.senders.names() != wanted {
            self.turns = true;
            if !self.note_rule().await {
                return;
            }
            let said_by = self.replication.log.flushed();
            self.replication.senders.set_names_from(wanted, said_by);
        }
        self.note_names(names).await;
    }

    /// The names that are in force travel in the log. While commits of before this start are undecided, or
    /// wait for standbys that are named no more, the names that they waited for stay there: by them the next
    /// start knows.
    async fn note_names(&mut self, names: String) {
        let mut state = self.state.clone();
        let gate = self.replication.database.commit_gate();
        // A quorum that is still required although nobody is named: the reload has not come to the gate yet.
        let in_force = gate.remote().required || gate.is_unnamed();
        let must_wait = names.is_empty() && (gate.undecided().is_some() || in_force);
        if !must_wait {
            state.names = names;
        }
        if self.state != state || !self.is_logged {
            self.change(state).await;
        }
        self.turns = !self.is_logged || must_wait;
        let is_ruled = self.note_rule().await;
        self.is_due = self.turns || !is_ruled;
    }

    /// Whether this primary may go on without its standbys, or without those that the log names, stands in
    /// the log before it may.
    async fn note_rule(&mut self) -> bool {
        let Self { replication, turns, .. } = self;
        let patience = replication.ground.config().synchronous_timeout;
        let record = PrimaryRecord {
            timeline: replication.database.timeline(),
            may_fall_back: patience.is_some() || *turns,
            member: replication.roster.own_id().number(),
            name: follows_as_named(&replication.ground.config()),
        };
        match replication.database.put_primary_record(record).await {
            Ok(()) => {
                // That commits wait for ever comes into force at once, also meanwhile.
                let still = replication.ground.config().synchronous_timeout;
                replication.database.commit_gate().set_patience(patience.filter(|_| still.is_some()));
                true
            }
            Err(error) => {
                let is_news = !std::mem::replace(&mut self.is_due, true);
                if is_news && !matches!(error, storage::Error::Shutdown) {
                    let what = match self.turns {
                        true => NAMES_WAIT,
                        false => {
                            "could not log plimsoll.synchronous_timeout, which comes into force when it is possible"
                        }
                    };
                    self.replication.ground.log.warning(format!("{what}: {error}"));
                }
                false
            }
        }
    }

    /// Without its record nothing may be acknowledged.
    async fn fall_back(&mut self, stall: Stall) -> Put {
        let gate = self.replication.database.commit_gate();
        let early = host::planted!("a fallback is told to begin where all levels were reached");
        let reached = || gate.known_to_be_held(if early { SyncLevel::RemoteApply } else { stall.level });
        let held = reached();
        let began = self.replication.ground.host.clock.now();
        let timeline = self.replication.database.timeline();
        let mut state = self.state.clone();
        match state.open() {
            Some(open) => (open.level, open.after) = (open.level.min(stall.level), open.after.min(held)),
            None => state.begin(Fallback { timeline, level: stall.level, began, after: held, ended: None }),
        }
        if !host::planted!("a fallback is not put into the log") {
            let put = self.put(state.clone()).await;
            if put != Put::Done {
                return put;
            }
        }
        if self.replication.database.fenced().is_some() {
            // While this was put into the log: there is nothing to fall back to.
            return Put::Over;
        }
        if gate.known_to_be_held(stall.level) >= stall.end || !gate.lasts(&stall) {
            // The standbys have come while this was put into the log, and nobody waits for it any more, or
            // plimsoll.synchronous_timeout is another one since.
            self.change(self.state.clone()).await;
            return Put::Done;
        }
        // What they have reached meanwhile is no part of it. The log's record says more until the next one.
        let held = reached();
        let after = self.state.open().map_or(held, |open| open.after.min(held));
        if let Some(open) = state.open() {
            open.after = after;
        }
        self.state = state;
        let (level, below) = (stall.level.name(), stall.level.below().name());
        let timeout =
            self.replication.ground.settings().show("plimsoll.synchronous_timeout").unwrap_or_default();
        let reason =
            format!("no synchronous standby reached {level} within {timeout}: commits wait for {below} only");
        if !host::planted!("a fallback is not put into the ledger") {
            let early = host::planted!("a fallback is recorded up to before its commit");
            let upto = if early { stall.end - 8 } else { stall.end };
            self.replication.ledger.record("fallback", (after, upto), &reason);
        }
        {
            let mut known = self.replication.semi_sync.0.lock();
            known.lasts_after = Some(after);
            if !host::planted!("a fallback is not counted") {
                known.counts.fallbacks += 1;
            }
        }
        self.replication
            .ground
            .log
            .warning(format!("falling back from synchronous replication after {after}: {reason}"));
        if gate.suspend(stall.level, stall.end).is_none() && gate.suspended().is_none() {
            // While this was recorded those who waited went, with the names or with what they waited for: it
            // let nobody go.
            self.end(after, after).await;
            let reason = match gate.remote().required {
                true => format!("standbys reached {level} meanwhile"),
                false => "no standbys are named any more".to_owned(),
            };
            tell_return(self.replication, (after, after), &reason);
        }
        Put::Done
    }

    async fn returned(&mut self, resumed: Resumed) {
        let Resumed { level, after, upto } = resumed;
        self.end(after, upto).await;
        self.replication.semi_sync.0.lock().lasts_after = None;
        if !self.replication.database.commit_gate().remote().required {
            self.replication.ledger.record("released", (after, upto), NOBODY_NAMED);
            self.replication.semi_sync.note_release();
            return self
                .replication
                .ground
                .log
                .warning(format!("commits after {after} up to {upto} are {NOBODY_NAMED}"));
        }
        let reason = format!("commits wait for {} again", level.name());
        tell_return(self.replication, (after, upto), &reason);
    }

    /// The fallback is over: commits after `after` up to `upto` were acknowledged by it.
    async fn end(&mut self, after: Lsn, upto: Lsn) {
        let now = self.replication.ground.host.clock.now();
        let mut state = self.state.clone();
        if let Some(open) = state.open() {
            (open.after, open.ended) = (after, Some((now, upto)));
        }
        if !host::planted!("the end of a fallback is not put into the log") {
            self.change(state).await;
        }
    }
}

/// The role was handed over at the log's end: the successor has all that was acknowledged, and puts into
/// the log that a fallback is over.
pub(crate) fn handed_over(replication: &Replication, end: Lsn) {
    let lasts_after = replication.semi_sync.0.lock().lasts_after;
    if let Some(after) = lasts_after {
        tell_return(
            replication,
            (after, end),
            "the role was handed over to a standby that has all of the log",
        );
    }
}

fn tell_return(replication: &Replication, (after, upto): (Lsn, Lsn), reason: &str) {
    replication.ledger.record("return", (after, upto), reason);
    {
        let mut known = replication.semi_sync.0.lock();
        (known.lasts_after, known.counts.returns) = (None, known.counts.returns + 1);
    }
    replication.ground.log.log(format!(
        "returning to synchronous replication: {reason}; \
         those after {after} up to {upto} were acknowledged without it"
    ));
}
