//! A node in recovery: redo on its thread, and the log that it is fed.
//!
//! Redo decides with [`replica::receiver::sources`] which source has its turn; a receiver runs exactly while
//! redo wants one ([`mind_receiver`]). The way out, by promotion, is the node's (`node::promote`).

mod observer;
mod redo_feed;
pub(crate) mod settings;

use super::Replication;
use crate::configuration::Ground;
use crate::error::ServerError;
use crate::tasks::Tasks;
use host::sync::Mutex;
use host::task::Blocking;
use host::task::task;
use host::{Timestamp, vital_task};
use observer::Observer;
use redo_feed::RedoFeed;
use replica::directory_id::{DIRECTORY_ID_FILE, DirectoryId};
use replica::driver::StandbyFeed;
use replica::driver::receive::{self, ReceiveContext, ReceiveHandle, ReceiveSettings};
use replica::receiver::ReceiverView;
use settings::{delay_settings, receive_settings, source_settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{Database, RecoveryStop, RedoEnd, StandbyRedo};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wal::log_branch::RECEIVED_FILE;
use wal::{Live, Lsn, NodeLog, StandbyPositions};

/// How redo ended, or why it failed.
pub(crate) type Ended = Result<RedoEnd, String>;

/// What others ask of a standby: positions, pause, the receiver's state.
pub(crate) struct Recovery {
    ground: Arc<Ground>,
    database: Database,
    pub(crate) feed: Arc<StandbyFeed>,
    /// It stays here until it has ended.
    receiver: Mutex<Option<Arc<ReceiveHandle>>>,
    context: ReceiveContext,
    /// There is a standby.signal.
    follow: bool,
    /// What the last receiver had received and flushed when it stopped.
    last_receive_lsn: AtomicU64,
    /// Counts receivers.
    receivers: watch::Sender<u64>,
    /// Readers want to hear at once what is confirmed.
    wants_confirmed: watch::Sender<bool>,
    /// Where redo stopped at its target.
    stopped: Arc<Mutex<Option<RecoveryStop>>>,
    /// Where the log of the primary ended whose offer of its role was taken last; 0 if none was.
    offered_at: AtomicU64,
    /// The number that the receiver shows, whatever it connects to.
    pub(crate) receiver_pid: i32,
}

impl Recovery {
    /// What pg_stat_wal_receiver shows.
    pub(crate) fn receiver(&self) -> Option<ReceiverView> {
        self.receiver.lock().as_ref().and_then(|receiver| receiver.view())
    }

    /// What the primary itself said last of where its log ends, and when; None if it receives of a standby.
    pub(crate) fn end_of_primary(&self) -> Option<(Lsn, Timestamp)> {
        self.receiver.lock().as_ref().and_then(|receiver| receiver.end_of_primary())
    }

    /// Of which server it receives: sender_host and sender_port.
    pub(crate) fn receiver_place(&self) -> Option<(String, u16)> {
        self.receiver.lock().as_ref().and_then(|receiver| receiver.place())
    }

    /// The end of the log that was received and is durable; INVALID if nothing was asked for. As PostgreSQL
    /// has it, who asks for the log has received what comes before the segment he asks for, before anybody
    /// answers.
    pub(crate) fn last_receive_lsn(&self) -> Lsn {
        // No more than the log has by now: it may have been cut since.
        let flushed = self.feed.positions().flushed();
        let before = Lsn::new(self.last_receive_lsn.load(Ordering::Acquire)).min(flushed);
        let size = self.context.place.segment_size;
        let asked = self.feed.wanted().borrow().map(|from| size.start_of(size.segment_of(from)));
        let here = self.receiver().map(|view| view.flushed);
        [asked, here].into_iter().flatten().fold(before, Lsn::max)
    }

    /// Takes over reloaded settings.
    pub(super) fn apply_settings(&self) {
        self.feed.set_delays(delay_settings(&self.ground));
        self.feed.set_sources(source_settings(&self.ground, self.follow));
        if let (Some(running), Some(settings)) = (&*self.receiver.lock(), self.receive_settings()) {
            running.set(settings);
        }
    }

    fn receive_settings(&self) -> Option<ReceiveSettings> {
        receive_settings(&self.ground, &self.database, &self.context.place)
    }

    /// Has the primary told what is new in the roster.
    pub(super) fn tell_roster(&self) {
        if let Some(receiver) = &*self.receiver.lock() {
            receiver.tell_roster();
        }
    }

    /// Whether the primary shall name what is confirmed at once.
    pub(crate) fn want_confirmed(&self, wants: bool) {
        self.wants_confirmed.send_if_modified(|wanted| std::mem::replace(wanted, wants) != wants);
    }

    /// Whether there are readers of what is confirmed alone, or the settings make all such.
    fn reads_confirmed(&self) -> bool {
        *self.wants_confirmed.borrow() || self.ground.config().standby_reads.as_ref() == "confirmed"
    }

    /// Starts a receiver if redo wants one now.
    fn start_receiver(&self) -> Result<(), ServerError> {
        let mut receiver = self.receiver.lock();
        // Under the lock: a reload finds the receiver, or has come before.
        let Some(settings) = self.receive_settings() else { return Ok(()) };
        // Looked at under the lock: whoever closes the feed takes it afterwards to stop what was started
        // before.
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
                self.last_receive_lsn.store(view.flushed.get(), Ordering::Release);
            }
            self.receiver.lock().take_if(|ended| Arc::ptr_eq(ended, &receiver));
        }
    }

    /// Whether what was received can be read: whoever has lost a part of it is no good primary.
    pub(crate) fn check_promotion(&self) -> Result<(), ServerError> {
        let Some(damage) = self.feed.damage() else { return Ok(()) };
        let hint = format!(
            "A primary or an archive that has it will mend it. A start without {RECEIVED_FILE} gives up what lies \
             behind {}.",
            damage.at
        );
        Err(ServerError::new(format!("this server has lost log that it received: {}", damage.what))
            .with_hint(hint))
    }

    /// Whether recovery has a target that it has not reached: it would end with an error behind all log that
    /// there is.
    pub(crate) fn lacks_target(&self) -> bool {
        self.database.options().recovery.target.is_some() && self.stopped.lock().is_none()
    }

    /// The answer to a primary's offer is that this node takes its role: the primary's log ends at `end` for
    /// good, and all of it is here.
    fn take_offer(&self, end: Lsn) {
        self.offered_at.store(end.get(), Ordering::Release);
    }

    /// Whether the log here is all that there is, and nobody is the primary: the role was offered and taken,
    /// whether a promotion begins by the primary's word or somebody asks for it before that.
    fn is_handed_over(&self) -> bool {
        self.offered_at.load(Ordering::Acquire) == self.feed.positions().received().get().max(1)
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
                biased;
                what = failure => return what,
                // The sender lives in self.
                _ = receivers.changed() => {}
            }
        }
    }
}

/// Runs a receiver while redo wants one.
async fn mind_receiver(recovery: Arc<Recovery>, end: CancellationToken) {
    let mut wanted = recovery.feed.wanted();
    loop {
        let runs = wanted.borrow_and_update().is_some();
        if runs {
            if let Err(error) = recovery.start_receiver() {
                recovery.ground.log.warning(error.message);
            }
        } else {
            recovery.stop_receiver().await;
            recovery.feed.receiver_stopped();
        }
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// The tasks of a recovery, whose panic ends the process: nobody else would do their work.
pub(crate) const RECOVERY: &str = "a task of the recovery";

/// How a standby is asked to be one no more.
pub(crate) struct WaysOut {
    /// Whether a promotion is asked for.
    pub(crate) promotions: watch::Receiver<bool>,
    /// Asks for one, for a primary that hands its role over.
    pub(crate) promote: Arc<dyn Fn() + Send + Sync>,
    /// Asks for a rewind, since the upstream's branch left what is followed here before the log's end.
    pub(crate) rewind: Arc<AskRewind>,
}

/// Asks the node to rewind itself. An error says why it does not, if there is anything to say.
pub(crate) type AskRewind = dyn Fn() -> Result<(), Option<String>> + Send + Sync;

/// A standby at work.
pub(crate) struct Standby {
    replication: Arc<Replication>,
    recovery: Arc<Recovery>,
    redo: Blocking<Ended>,
    ends: mpsc::Receiver<()>,
}

impl Standby {
    /// The log of a standby, for its senders.
    pub(crate) fn log(database: &Database, redo: &StandbyRedo) -> NodeLog {
        let positions = Arc::new(StandbyPositions::new(redo.next_lsn()));
        NodeLog::new(redo.history().clone(), Live::Standby(positions), database.log_branch().clone())
    }

    /// Starts redo, and what feeds it. `begins` hears that all is in place, just before the first record is
    /// replayed; `ways_out` says when a promotion is asked for.
    pub(crate) fn start(
        replication: &Arc<Replication>,
        tasks: &Tasks,
        mut redo: Box<StandbyRedo>,
        ways_out: WaysOut,
        begins: impl FnOnce(),
    ) -> Self {
        let (ground, database) = (&replication.ground, &replication.database);
        let follow = !database.options().recovery.ends_with_log;
        let clock = ground.host.clock.clone();
        let feed = StandbyFeed::with_sources(&replication.log, source_settings(ground, follow), clock);
        feed.set_delays(delay_settings(ground));
        database.set_standby_log(feed.clone());
        let observer = || Observer::new(replication, &ways_out);
        feed.set_observer(Box::new(observer()));
        let redo_feed = RedoFeed::new(replication, &feed);
        let (stopped, needed) = (redo_feed.stopped.clone(), redo_feed.needed);
        let wants_confirmed = watch::Sender::new(false);
        let context = ReceiveContext {
            host: ground.host.clone(),
            place: replication.place.clone(),
            keeps_id: keeps_id(ground, replication.roster.own_id()),
            roster: replication.roster.clone(),
            feed: feed.clone(),
            log: replication.log.clone(),
            observer: Arc::new(observer()),
            needed,
            wants_confirmed: wants_confirmed.subscribe(),
            search: Arc::default(),
        };
        let recovery = Arc::new(Recovery {
            ground: ground.clone(),
            database: database.clone(),
            feed,
            receiver: Mutex::new(None),
            context,
            follow,
            last_receive_lsn: AtomicU64::new(0),
            receivers: watch::Sender::new(0),
            wants_confirmed,
            stopped,
            offered_at: AtomicU64::new(0),
            receiver_pid: replication.sessions.allocate_pid(),
        });
        // Its settings were read before.
        ground.between_reloads(|| {
            *replication.recovery.write() = Some(recovery.clone());
            recovery.apply_settings();
        });
        settings::tell_lower_settings(ground, database);
        begins();
        ground.log.log(format!("redo starts at {}", redo.next_lsn()));
        if let Some(checkpoint) = redo.awaited_checkpoint() {
            ground.log.log(format!("log of the checkpoint at {checkpoint} is not here: waiting for it"));
        }
        let redo = host::task::blocking(move || redo.run(&redo_feed).map_err(|error| error.to_string()));
        let end = tasks.background.clone();
        tasks.tracker.spawn(task(vital_task(RECOVERY, mind_receiver(recovery.clone(), end))));
        let (ended, ends) = mpsc::channel(1);
        let awaiting =
            await_promotion(ways_out.promotions, recovery.clone(), tasks.background.clone(), ended);
        tasks.tracker.spawn(task(vital_task(RECOVERY, awaiting)));
        Self { replication: replication.clone(), recovery, redo, ends }
    }

    /// Waits until redo has ended by itself, or the receiver has failed for good.
    pub(crate) async fn ended(&mut self) -> Ended {
        tokio::select! {
            biased;
            ended = &mut self.redo => {
                ended.unwrap_or_else(|error| Err(format!("the redo thread failed: {error}")))
            }
            failure = self.recovery.receiver_failure() => Err(failure),
        }
    }

    /// Redo has ended for a promotion: stops the receiver for good. Gives where redo stopped at its target.
    pub(crate) async fn end_receiving(&mut self) -> Option<RecoveryStop> {
        self.recovery.close_receiver().await;
        self.ends.close();
        self.recovery.stopped.lock().clone()
    }

    /// Whether the promotion is that of a handover.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.recovery.is_handed_over()
    }

    /// Lets go of a redo that has ended at its target for a shutdown.
    pub(crate) async fn leave(self) {
        self.recovery.close_receiver().await;
    }

    /// Ends redo for a stop. The log that was received stays readable for senders.
    pub(crate) async fn stop(mut self) {
        self.replication.archive.stop.cancel();
        self.recovery.close_receiver().await;
        self.recovery.feed.stop();
        if let Err(what) = self.ended().await {
            self.replication.ground.log.warning(what);
        }
    }
}

/// Whether the data directory has this node's id, and keeps it over restarts.
fn keeps_id(ground: &Ground, own: DirectoryId) -> bool {
    let found = DirectoryId::of_directory(&ground.host, &ground.data_dir);
    let found = found.map_err(|error| {
        ground.log.warning(format!(
            "could not read or make {DIRECTORY_ID_FILE}: {error}; servers cannot tell a connection of this \
             standby from an older one, and may count it twice"
        ));
    });
    found.is_ok_and(|found| found == own)
}

/// Ends the receiver and then redo when a promotion is asked for.
async fn await_promotion(
    mut promotions: watch::Receiver<bool>,
    recovery: Arc<Recovery>,
    end: CancellationToken,
    ended: mpsc::Sender<()>,
) {
    let asked = tokio::select! {
        biased;
        () = end.cancelled() => false,
        () = ended.closed() => false,
        asked = promotions.wait_for(|asked| *asked) => asked.is_ok(),
    };
    if asked {
        // What comes after this is not part of what is promoted.
        recovery.close_receiver().await;
        recovery.feed.promote(recovery.is_handed_over());
    }
}
