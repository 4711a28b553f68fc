//! A node in recovery: redo on its thread, the log that it is fed, and the way out by promotion.

use crate::ledger::{self, LedgerEntry};
use crate::node::{Node, Phase};
use crate::server::Tasks;
use crate::{ServerError, fencing};
use parking_lot::Mutex;
use protocol::{Report, SqlState};
use replica::ReplicaError;
use replica::driver::receive::{self, ReceiveContext, ReceiveHandle, ReceiveObserver, ReceiveSettings};
use replica::driver::{Live, LogPlace, LogState, NodeLog, StandbyFeed, Stopping};
use replica::promotion;
use replica::receiver::{ReceiverOptions, ReceiverView};
use std::path::Path;
use std::sync::{Arc, Weak};
use storage::{CheckpointKind, Database, PromoteOptions, RedoEnd, StandbyRedo};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wal::history::TimelineHistory;
use wal::{Lsn, StandbyPositions, TimelineId, Xid};

type Ended = Result<RedoEnd, String>;

/// What others ask of a standby: positions, pause, the receiver's state.
pub(crate) struct Recovery {
    pub(crate) feed: Arc<StandbyFeed>,
    receiver: Mutex<Option<ReceiveHandle>>,
    context: ReceiveContext,
    /// The number that the receiver shows, whatever it connects to.
    pub(crate) receiver_pid: i32,
}

impl Recovery {
    /// What pg_stat_wal_receiver shows.
    pub(crate) fn receiver(&self) -> Option<ReceiverView> {
        self.receiver.lock().as_ref().and_then(ReceiveHandle::view)
    }

    /// The end of the log that was received and is durable; INVALID if nothing was.
    pub(crate) fn received(&self) -> Lsn {
        self.receiver().map_or(Lsn::INVALID, |view| view.flushed)
    }

    /// Starts, changes or leaves the receiver, as the settings say.
    pub(crate) fn apply_settings(&self, node: &Node) -> Result<(), ServerError> {
        let wanted = receive_settings(node, &self.context.place);
        let mut receiver = self.receiver.lock();
        match (&*receiver, wanted) {
            (Some(running), Some(settings)) => running.set(settings),
            (None, Some(settings)) => {
                let started = receive::start(self.context.clone(), settings);
                *receiver = Some(started.map_err(|error| {
                    ServerError::new(format!("could not start the WAL receiver: {error}"))
                })?);
            }
            // Without primary_conninfo the receiver ends; its handle cancels it.
            (_, None) => drop(receiver.take()),
        }
        Ok(())
    }

    async fn stop_receiver(&self) {
        let receiver = self.receiver.lock().take();
        if let Some(receiver) = receiver {
            receiver.stop().await;
        }
    }

    /// Waits until the receiver, this one or one that a reload starts, can no longer write the log.
    async fn receiver_failure(&self, node: &Node) -> String {
        let mut reloads = node.reloads();
        loop {
            let failure = self.receiver.lock().as_ref().map(ReceiveHandle::failure);
            let failure = async {
                match failure {
                    Some(failure) => failure.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                what = failure => return what,
                // The sender lives as long as the node.
                _ = reloads.changed() => {}
            }
        }
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

    fn failed(&self, error: &ReplicaError) {
        let Some(node) = self.node.upgrade() else { return };
        let report = Report {
            detail: error.detail(),
            hint: error.hint().map(str::to_owned),
            ..Report::fatal(SqlState::new(error.sqlstate()), error.to_string())
        };
        node.log.write(None, &report, None);
    }

    fn followed(&self, history: &TimelineHistory) {
        let Some(node) = self.node.upgrade() else { return };
        node.log.log(format!("new target timeline is {}", history.target()));
    }

    fn cut(&self, from: Lsn, to: Lsn, timeline: TimelineId) {
        let Some(node) = self.node.upgrade() else { return };
        let reason = format!("no whole record of timeline {timeline}, cut before following the primary");
        node.log.log(format!("cut log from {from} to {to}: {reason}"));
        let (at, event) = (node.host.clock.now(), "cut".to_owned());
        let entry = LedgerEntry { at, event, after: from, upto: to, reason };
        if let Err(error) = ledger::append(&node.host, &node.data_dir, &entry) {
            node.log.warning(format!("could not write plimsoll/ledger: {error}"));
        }
    }

    fn oldest_xmin(&self) -> Option<Xid> {
        let node = self.node.upgrade()?;
        let database = node.database()?;
        let own = database.oldest_snapshot();
        // What standbys of this standby need, it needs too.
        let others = node.replicas().and_then(|replicas| replicas.oldest_xmin());
        own.into_iter().chain(others).min()
    }
}

/// The history that a standby follows: the newest in pg_wal that continues its own timeline.
pub(crate) fn history_to_follow(
    node: &Node,
    pg_wal: &Path,
    own: TimelineId,
) -> Result<TimelineHistory, ServerError> {
    promotion::latest_history(node.host.disk.as_ref(), pg_wal, own)
        .map_err(|error| ServerError::new(error.to_string()))
}

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
    pub(crate) fn log(
        node: &Node,
        place: &LogPlace,
        database: &Database,
        redo: &StandbyRedo,
    ) -> Result<(NodeLog, Arc<StandbyPositions>), ServerError> {
        let positions = Arc::new(StandbyPositions::new(redo.next_lsn()));
        let history = history_to_follow(node, &place.pg_wal, database.timeline())?;
        let live = Live::Standby(positions.clone());
        Ok((NodeLog::new(LogState { history, live, stopping: Stopping::No }), positions))
    }

    /// Starts redo, and what feeds it.
    pub(crate) fn start(
        node: Arc<Node>,
        tasks: &Arc<Tasks>,
        database: Database,
        mut redo: Box<StandbyRedo>,
        (log, positions): (NodeLog, Arc<StandbyPositions>),
        place: LogPlace,
    ) -> Result<Self, ServerError> {
        let feed = StandbyFeed::new(positions);
        let context = ReceiveContext {
            host: node.host.clone(),
            place,
            fsync: node.config().fsync,
            feed: feed.clone(),
            log,
            observer: Arc::new(Observer { node: Arc::downgrade(&node) }),
        };
        let recovery = Arc::new(Recovery {
            feed: feed.clone(),
            receiver: Mutex::new(None),
            context,
            receiver_pid: node.sessions.allocate_pid(),
        });
        node.set_recovery(Some(recovery.clone()));
        node.set_phase(Phase::Recovering);
        node.log.log(format!("redo starts at {}", redo.next_lsn()));
        recovery.apply_settings(&node)?;
        let redo = tokio::task::spawn_blocking(move || redo.run(&*feed).map_err(|error| error.to_string()));
        tasks.tracker.spawn(announce(node.clone(), database, tasks.background.clone()));
        let (ended, ends) = mpsc::channel(1);
        tasks.tracker.spawn(await_promotion(node.clone(), recovery.clone(), tasks.background.clone(), ended));
        Ok(Self { node, tasks: tasks.clone(), recovery, redo, ends })
    }

    /// Waits until redo has ended by itself, or the receiver has failed for good.
    pub(crate) async fn ended(&mut self) -> Ended {
        tokio::select! {
            ended = &mut self.redo => {
                ended.unwrap_or_else(|error| Err(format!("the redo thread failed: {error}")))
            }
            failure = self.recovery.receiver_failure(&self.node) => Err(failure),
        }
    }

    /// Turns the standby into a primary, if redo ended for that.
    pub(crate) async fn finish(mut self, ended: Ended, database: &Database) -> Result<(), ServerError> {
        let end = ended.map_err(ServerError::new)?;
        let RedoEnd::Promote { at, timeline } = end else {
            return Err(ServerError::new("redo ended without a reason"));
        };
        // The task that stopped the receiver has done so before redo could end.
        self.ends.close();
        let log = &self.node.log;
        log.log(format!("redo done at {at}"));
        if let Some(last) = database.last_replayed_commit() {
            let zone = jiff::tz::TimeZone::UTC;
            let time = crate::log::format_time(last, &zone, "%Y-%m-%d %H:%M:%S%.6f+00");
            log.log(format!("last completed transaction was at log time {time}"));
        }
        let pg_wal = self.node.data_dir.join("pg_wal");
        let known = promotion::known_timelines(self.node.host.disk.as_ref(), &pg_wal)
            .map_err(|error| ServerError::new(format!("could not read pg_wal: {error}")))?;
        let peers = fencing::timelines_of_peers(&self.node).await;
        let new_timeline = promotion::choose_timeline(timeline, known, peers)
            .ok_or_else(|| ServerError::new("there is no timeline number left"))?;
        let options = PromoteOptions {
            new_timeline: Some(new_timeline),
            reason: "no recovery target specified".to_owned(),
        };
        let promoted =
            database.promote(end, options).await.map_err(|error| ServerError::new(error.to_string()))?;
        log.log(format!("selected new timeline ID: {}", promoted.timeline));
        self.node.leave_recovery(database, promoted.timeline)?;
        log.log("archive recovery complete");
        let (node, database) = (self.node.clone(), database.clone());
        self.tasks.writers.spawn(async move {
            if let Err(error) = database.checkpoint(CheckpointKind::Immediate).await {
                node.log.warning(format!("checkpoint after promotion failed: {error}"));
            }
        });
        Ok(())
    }

    /// Ends redo for a stop. The log that was received stays readable for senders.
    pub(crate) async fn stop(mut self) {
        self.recovery.stop_receiver().await;
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
        recovery.stop_receiver().await;
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
