//! A node in recovery: redo on its thread, the log that it is fed, and the way out by promotion.
//!
//! Redo decides with [`replica::receiver::sources`] which source has its turn; a receiver runs exactly while redo wants one ([`mind_receiver`]).

use crate::archive::feed::RecoveryFeed;
use crate::archive::restore::Restorer;
use crate::archive::{command, target};
use crate::ledger;
use crate::node::{Node, Phase};
use crate::server::Tasks;
use crate::{ServerError, background, fencing};
use host::vital_task;
use parking_lot::Mutex;
use protocol::{Report, Severity, SqlState};
use replica::ReplicaError;
use replica::driver::receive::{self, ReceiveContext, ReceiveHandle, ReceiveObserver, ReceiveSettings};
use replica::driver::{DelayObserver, DelaySettings, LogPlace, StandbyFeed};
use replica::receiver::sources::SourceSettings;
use replica::receiver::{ReceiverOptions, ReceiverView};
use replica::slots::UpstreamSlot;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{Conflict, ConflictKind, Database, PromoteOptions, RecoveryStop, RedoEnd, StandbyRedo};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wal::history::TimelineHistory;
use wal::{Live, Lsn, NodeLog, StandbyPositions, TimelineId, Xid, timelines};

type Ended = Result<RedoEnd, String>;

/// What others ask of a standby: positions, pause, the receiver's state.
pub(crate) struct Recovery {
    pub(crate) feed: Arc<StandbyFeed>,
    /// It stays here until it has ended.
    receiver: Mutex<Option<Arc<ReceiveHandle>>>,
    context: ReceiveContext,
    /// There is a standby.signal.
    follow: bool,
    /// What the last receiver had received when it stopped.
    received: AtomicU64,
    /// Counts receivers.
    receivers: watch::Sender<u64>,
    /// Readers want to hear at once what is confirmed.
    wants_confirmed: watch::Sender<bool>,
    /// Where redo stopped at its target.
    stopped: Arc<Mutex<Option<RecoveryStop>>>,
    /// The number that the receiver shows, whatever it connects to.
    pub(crate) receiver_pid: i32,
}

impl Recovery {
    /// What pg_stat_wal_receiver shows.
    pub(crate) fn receiver(&self) -> Option<ReceiverView> {
        self.receiver.lock().as_ref().and_then(|receiver| receiver.view())
    }

    /// The end of the log that was received and is durable; INVALID if nothing was asked for. As PostgreSQL has it, who asks
    /// for the log has received what comes before the segment he asks for, before anybody answers.
    pub(crate) fn received(&self) -> Lsn {
        // No more than the log has by now: it may have been cut since.
        let flushed = self.feed.positions().flushed();
        let before = Lsn::new(self.received.load(Ordering::Acquire)).min(flushed);
        let size = self.context.place.segment_size;
        let asked = self.feed.wanted().borrow().map(|from| size.start_of(size.segment_of(from)));
        let here = self.receiver().map(|view| view.flushed);
        [asked, here].into_iter().flatten().fold(before, Lsn::max)
    }

    /// Takes over reloaded settings.
    pub(crate) fn apply_settings(&self, node: &Node) -> Result<(), ServerError> {
        self.feed.set_delays(hold_settings(node));
        self.feed.set_sources(source_settings(node, self.follow));
        if let (Some(running), Some(settings)) =
            (&*self.receiver.lock(), receive_settings(node, &self.context.place))
        {
            running.set(settings);
        }
        Ok(())
    }

    /// Whether the primary shall name what is confirmed at once.
    pub(crate) fn want_confirmed(&self, wants: bool) {
        self.wants_confirmed.send_if_modified(|wanted| std::mem::replace(wanted, wants) != wants);
    }

    /// Starts a receiver if redo wants one now.
    fn start_receiver(&self, node: &Node) -> Result<(), ServerError> {
        let Some(settings) = receive_settings(node, &self.context.place) else { return Ok(()) };
        let mut receiver = self.receiver.lock();
        // Looked at under the lock: whoever closes the feed takes it afterwards to stop what was started before.
        if receiver.is_none() && self.feed.wanted().borrow().is_some() {
            let started = receive::start(self.context.clone(), settings);
            let started = started
                .map_err(|error| ServerError::new(format!("could not start the WAL receiver: {error}")))?;
            *receiver = Some(Arc::new(started));
            self.receivers.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Ends redo and the receiver at once; whoever waits for them finds them ended soon.
    pub(crate) fn halt(&self) {
        drop(self.receiver.lock().take());
        self.feed.stop();
    }

    /// Stops the receiver; of several who do so none goes on before it has ended.
    async fn stop_receiver(&self) {
        let receiver = self.receiver.lock().clone();
        if let Some(receiver) = receiver {
            receiver.stop().await;
            if let Some(view) = receiver.view() {
                self.received.store(view.flushed.get(), Ordering::Release);
            }
            self.receiver.lock().take_if(|ended| Arc::ptr_eq(ended, &receiver));
        }
    }

    /// Stops the receiver for good.
    async fn close_receiver(&self) {
        self.feed.close();
        self.stop_receiver().await;
    }

    /// Waits until the receiver, this one or one that comes after it, can no longer write the log.
    async fn receiver_failure(&self) -> String {
        let mut receivers = self.receivers.subscribe();
        loop {
            receivers.borrow_and_update();
            let failure = self.receiver.lock().as_ref().map(|receiver| receiver.failure());
            let failure = async {
                match failure {
                    Some(failure) => failure.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                what = failure => return what,
                // The sender lives in self.
                _ = receivers.changed() => {}
            }
        }
    }
}

/// Runs a command of recovery (archive_cleanup_command, recovery_end_command), for which a failure is a warning. False: a stop ended it,
/// or came before it. Blocks.
pub(crate) fn run_recovery_command(node: &Node, name: &str) -> bool {
    let template = node.settings().show(name).unwrap_or_default();
    let Some(runtime) = node.restorer().map(|restorer| restorer.runtime()) else { return true };
    if template.trim().is_empty() {
        return true;
    }
    let oldest = Restorer::oldest_needed(node).unwrap_or_default();
    let command = command::expand(&template, &[('r', oldest.as_str())]);
    let what = match runtime.block_on(node.children.run(&command, &node.data_dir, &node.commands)) {
        Ok(command::Outcome::Done) => return true,
        Ok(command::Outcome::Stopped) => return false,
        Ok(outcome) => outcome.describe(),
        Err(error) => error.to_string(),
    };
    node.log.warning(format!("{name} \"{command}\": {what}"));
    true
}

/// What the settings say of the sources. `follow`: there is a standby.signal.
fn source_settings(node: &Node, follow: bool) -> SourceSettings {
    let config = node.config();
    SourceSettings {
        follow,
        primary: follow && !config.primary_conninfo.trim().is_empty(),
        archive: !config.restore_command.trim().is_empty(),
        retry: config.wal_retrieve_retry_interval,
    }
}

/// Runs a receiver while redo wants one.
async fn mind_receiver(node: Arc<Node>, recovery: Arc<Recovery>, end: tokio_util::sync::CancellationToken) {
    let mut wanted = recovery.feed.wanted();
    loop {
        let runs = wanted.borrow_and_update().is_some();
        if runs {
            if let Err(error) = recovery.start_receiver(&node) {
                node.log.warning(error.message);
            }
        } else {
            recovery.stop_receiver().await;
            recovery.feed.receiver_stopped();
        }
        tokio::select! {
            () = end.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// What the settings say of what holds replay back.
fn hold_settings(node: &Node) -> DelaySettings {
    let config = node.config();
    let session = settings::SessionSettings::new(node.settings());
    DelaySettings {
        min_apply_delay: config.recovery_min_apply_delay,
        streaming_delay: config.max_standby_streaming_delay.0,
        tell_waits_after: config.log_recovery_conflict_waits.then(|| session.config().deadlock_timeout),
    }
}

/// None if no primary is named.
fn receive_settings(node: &Node, place: &LogPlace) -> Option<ReceiveSettings> {
    let config = node.config();
    let database = node.database()?;
    if config.primary_conninfo.trim().is_empty() {
        return None;
    }
    let name = config.cluster_name.trim();
    Some(ReceiveSettings {
        conninfo: config.primary_conninfo.to_string(),
        application_name: if name.is_empty() { "walreceiver".to_owned() } else { name.to_owned() },
        options: ReceiverOptions {
            system: database.system_id(),
            segment_size: place.segment_size,
            slot: Some(config.primary_slot_name.to_string()).filter(|name| !name.is_empty()),
            follow_latest: config.recovery_target_timeline.as_ref() == "latest",
            status_interval: config.wal_receiver_status_interval,
            timeout: config.wal_receiver_timeout,
            retry_interval: config.wal_retrieve_retry_interval,
            feedback: config.hot_standby_feedback,
        },
        copy_slots: config.sync_replication_slots,
    })
}

/// Writes what the receiver tells into the log.
struct Observer {
    /// Weak, since the node holds the receiver that holds this.
    node: Weak<Node>,
}

impl ReceiveObserver for Observer {
    fn started(&self, at: Lsn, timeline: TimelineId, again: bool) {
        let Some(node) = self.node.upgrade() else { return };
        let what = if again { "restarted WAL streaming" } else { "started streaming WAL from primary" };
        node.log.log(format!("{what} at {at} on timeline {timeline}"));
    }

    fn reconnects(&self) {
        if let Some(node) = self.node.upgrade() {
            node.log.log("WAL receiver process shutdown requested");
        }
    }

    fn failed(&self, error: &ReplicaError) {
        let Some(node) = self.node.upgrade() else { return };
        let report = Report {
            detail: error.detail(),
            hint: error.hint().map(Cow::into_owned),
            ..Report::fatal(SqlState::new(error.sqlstate()), error.to_string())
        };
        node.log.write(None, &report, None);
        if let Some(recovery) = node.recovery() {
            recovery.feed.receiver_failed();
        }
    }

    fn followed(&self, history: &TimelineHistory) {
        let Some(node) = self.node.upgrade() else { return };
        node.log.log(format!("new target timeline is {}", history.target()));
    }

    fn cut(&self, from: Lsn, to: Lsn, timeline: TimelineId) {
        let Some(node) = self.node.upgrade() else { return };
        let reason = format!("no whole record of timeline {timeline}, cut before following the primary");
        node.log.log(format!("cut log from {from} to {to}: {reason}"));
        ledger::record(&node, "cut", (from, to), &reason);
    }

    fn confirmed(&self, upto: Lsn) {
        let Some(node) = self.node.upgrade() else { return };
        if let Some(database) = node.database() {
            database.commit_gate().confirm(upto);
        }
    }

    fn slots(&self, slots: &[UpstreamSlot]) {
        if let Some(node) = self.node.upgrade() {
            crate::slots::copy(&node, slots);
        }
    }

    fn oldest_xmin(&self) -> Option<Xid> {
        let node = self.node.upgrade()?;
        let database = node.database()?;
        // Without a snapshot, what the next one will see: the primary keeps that much for it.
        let own = database.oldest_snapshot().or_else(|| Some(database.next_xid()));
        // What standbys of this standby need, it needs too.
        let others = node.replicas().and_then(|replicas| replicas.oldest_xmin());
        own.into_iter().chain(others).min()
    }
}

impl DelayObserver for Observer {
    fn paused(&self) {
        let hint = Some("Execute pg_wal_replay_resume() to continue.".to_owned());
        let report = Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, "recovery has paused");
        let Some(node) = self.node.upgrade() else { return };
        node.log.write(None, &Report { hint, ..report }, None);
    }

    fn waits_for_queries(&self, kind: ConflictKind, waited: Duration, over: bool) {
        let what = if over { "finished" } else { "still" };
        let milliseconds = waited.as_secs_f64() * 1e3;
        let Some(node) = self.node.upgrade() else { return };
        node.log.log(format!(
            "recovery {what} waiting after {milliseconds:.3} ms: recovery conflict on {}",
            kind.name()
        ));
    }

    fn gives_up(&self, conflict: Conflict) {
        let Some(node) = self.node.upgrade() else { return };
        for session in node.sessions.list() {
            if session.oldest_snapshot().is_some_and(|oldest| oldest < conflict.horizon) {
                session.give_way(conflict.kind);
            }
        }
    }
}

/// The tasks of a recovery, whose panic ends the process: nobody else would do their work.
const RECOVERY: &str = "a task of the recovery";

/// A standby at work.
pub(crate) struct Standby {
    node: Arc<Node>,
    tasks: Arc<Tasks>,
    recovery: Arc<Recovery>,
    redo: JoinHandle<Ended>,
    ends: mpsc::Receiver<()>,
}

impl Standby {
    /// The log of a standby, for its senders.
    pub(crate) fn log(redo: &StandbyRedo) -> NodeLog {
        let positions = Arc::new(StandbyPositions::new(redo.next_lsn()));
        NodeLog::new(redo.history().clone(), Live::Standby(positions))
    }

    /// Starts redo, and what feeds it.
    pub(crate) fn start(
        node: Arc<Node>,
        tasks: &Arc<Tasks>,
        database: Database,
        mut redo: Box<StandbyRedo>,
        log: NodeLog,
        place: LogPlace,
    ) -> Result<Self, ServerError> {
        let follow = !database.options().recovery.ends_with_log;
        let clock = node.host.clock.clone();
        let feed = StandbyFeed::with_sources(&log, source_settings(&node, follow), clock);
        feed.set_delays(hold_settings(&node));
        database.set_standby_log(feed.clone());
        feed.set_observer(Box::new(Observer { node: Arc::downgrade(&node) }));
        let stopped = Arc::new(Mutex::new(None));
        let redo_feed = RecoveryFeed {
            node: node.clone(),
            inner: feed.clone(),
            restorer: node.restorer().cloned(),
            log: log.clone(),
            pg_wal: place.pg_wal.clone(),
            stopped: stopped.clone(),
        };
        let wants_confirmed = watch::Sender::new(false);
        let context = ReceiveContext {
            host: node.host.clone(),
            place,
            fsync: node.config().fsync,
            feed: feed.clone(),
            log,
            observer: Arc::new(Observer { node: Arc::downgrade(&node) }),
            wants_confirmed: wants_confirmed.subscribe(),
        };
        let recovery = Arc::new(Recovery {
            feed,
            receiver: Mutex::new(None),
            context,
            follow,
            received: AtomicU64::new(0),
            receivers: watch::Sender::new(0),
            wants_confirmed,
            stopped,
            receiver_pid: node.sessions.allocate_pid(),
        });
        node.set_recovery(Some(recovery.clone()));
        node.set_phase(Phase::Recovering);
        node.log.log(format!("redo starts at {}", redo.next_lsn()));
        if let Some(checkpoint) = redo.awaited_checkpoint() {
            node.log.log(format!("log of the checkpoint at {checkpoint} is not here: waiting for it"));
        }
        let redo =
            tokio::task::spawn_blocking(move || redo.run(&redo_feed).map_err(|error| error.to_string()));
        let end = tasks.background.clone();
        tasks.tracker.spawn(vital_task(RECOVERY, mind_receiver(node.clone(), recovery.clone(), end)));
        tasks.tracker.spawn(vital_task(RECOVERY, announce(node.clone(), database, tasks.background.clone())));
        let (ended, ends) = mpsc::channel(1);
        tasks.tracker.spawn(vital_task(
            RECOVERY,
            await_promotion(node.clone(), recovery.clone(), tasks.background.clone(), ended),
        ));
        Ok(Self { node, tasks: tasks.clone(), recovery, redo, ends })
    }

    /// Waits until redo has ended by itself, or the receiver has failed for good.
    pub(crate) async fn ended(&mut self) -> Ended {
        tokio::select! {
            ended = &mut self.redo => {
                ended.unwrap_or_else(|error| Err(format!("the redo thread failed: {error}")))
            }
            failure = self.recovery.receiver_failure() => Err(failure),
        }
    }

    /// Turns the standby into a primary, if redo ended for that.
    pub(crate) async fn finish(mut self, ended: Ended, database: &Database) -> Result<(), ServerError> {
        let end = ended.map_err(ServerError::new)?;
        let RedoEnd::Promote { at, timeline } = end else {
            return Err(ServerError::new("redo ended without a reason"));
        };
        self.recovery.close_receiver().await;
        self.ends.close();
        let log = &self.node.log;
        log.log(format!("redo done at {at}"));
        if let Some(last) = database.last_replayed_commit() {
            log.log(format!("last completed transaction was at log time {}", target::time_text(last)));
        }
        // Redo may have ended without anybody asking, too.
        fencing::check_promotion(&self.node)?;
        let new_timeline = self.new_timeline(database, timeline).await?;
        let reason = target::reason(self.recovery.stopped.lock().as_ref());
        let options = PromoteOptions { new_timeline, reason };
        self.end_recovery_files().await?;
        let replicas = self.node.replicas().ok_or_else(|| ServerError::new("replication is not set up"))?;
        replicas.end_log(at)?;
        let failed = |error: storage::Error| ServerError::new(error.to_string());
        let promotion = database.promote(end, options).await.map_err(failed)?;
        let promoted = promotion.promoted();
        log.log(format!("selected new timeline ID: {}", promoted.timeline));
        if let Some(archiver) = self.node.archiver().cloned() {
            let settle =
                move || archiver.end_timeline(promoted.old_timeline, promoted.end_file, promoted.switch_at);
            let settled = tokio::task::spawn_blocking(settle).await;
            settled.map_err(|error| ServerError::new(error.to_string()))??;
        }
        // Who sees the server out of recovery finds the ended timeline settled.
        log.log("archive recovery complete");
        replicas.promoted(&self.node, database, &promoted)?;
        promotion.end_recovery().await.map_err(failed)?;
        self.node.leave_recovery();
        background::begin_timeline(&self.node, &self.tasks, database);
        Ok(())
    }

    /// A number for the new timeline, above all that this directory, the peers and the archive have seen.
    async fn new_timeline(&self, database: &Database, parent: TimelineId) -> Result<TimelineId, ServerError> {
        let peers = fencing::timelines_of_peers(&self.node).await;
        let (control, disk) = (database.control(), self.node.host.disk.clone());
        let (restorer, pg_wal) = (self.node.restorer().cloned(), self.node.data_dir.join("pg_wal"));
        let looked = tokio::task::spawn_blocking(move || {
            let here = timelines::newest_seen(&*disk, &pg_wal, &control)?;
            let newest = peers.into_iter().fold(here.max(parent), TimelineId::max);
            let Some(restorer) = restorer else { return Ok(newest) };
            if parent > TimelineId::FIRST {
                // The new history continues this one: the archive's word on it, if it has one.
                restorer.history(parent)?;
            }
            restorer.fetch_later(newest)
        });
        let looked = looked.await.map_err(|error| ServerError::new(error.to_string()))?;
        let newest = looked.map_err(|error: std::io::Error| {
            ServerError::new(format!("could not look for timelines: {error}"))
        })?;
        newest.next().ok_or_else(|| ServerError::new("there is no timeline number left"))
    }

    /// What comes between the end of redo and the first write: nothing of the fetching stays, recovery_end_command runs.
    async fn end_recovery_files(&self) -> Result<(), ServerError> {
        let node = self.node.clone();
        let ended = tokio::task::spawn_blocking(move || {
            Restorer::remove_temporaries(&node)?;
            if !run_recovery_command(&node, "recovery_end_command") {
                return Err(std::io::Error::other("recovery_end_command was ended by the server's stop"));
            }
            Ok(())
        });
        let ended = ended.await.map_err(|error| ServerError::new(error.to_string()))?;
        ended.map_err(|error| ServerError::new(format!("could not clean up after recovery: {error}")))
    }

    /// Lets go of a redo that has ended at its target for a shutdown.
    pub(crate) async fn leave(self) {
        self.recovery.close_receiver().await;
    }

    /// Ends redo for a stop. The log that was received stays readable for senders.
    pub(crate) async fn stop(mut self) {
        self.node.commands.cancel();
        self.recovery.close_receiver().await;
        self.recovery.feed.stop();
        if let Err(what) = self.ended().await {
            self.node.log.warning(what);
        }
    }
}

/// Ends the receiver and then redo when a promotion is asked for.
async fn await_promotion(
    node: Arc<Node>,
    recovery: Arc<Recovery>,
    end: tokio_util::sync::CancellationToken,
    ended: mpsc::Sender<()>,
) {
    let mut promotions = node.promotions();
    let asked = tokio::select! {
        () = end.cancelled() => false,
        () = ended.closed() => false,
        asked = promotions.wait_for(|asked| *asked) => asked.is_ok(),
    };
    if asked {
        // What comes after this is not part of what is promoted.
        recovery.close_receiver().await;
        recovery.feed.promote();
    }
}

/// Says when reads may begin.
async fn announce(node: Arc<Node>, database: Database, end: tokio_util::sync::CancellationToken) {
    tokio::select! {
        () = end.cancelled() => {}
        () = database.wait_consistent() => {
            node.log.log(format!("consistent recovery state reached at {}", database.replayed()));
            if node.config().hot_standby && node.phase() == Phase::Recovering {
                node.set_phase(Phase::HotStandby);
                node.log.log("database system is ready to accept read-only connections");
            }
        }
    }
}
