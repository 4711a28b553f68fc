//! A node in recovery: redo on its thread, the log that it is fed, and the way out by promotion.

use crate::ServerError;
use crate::node::{Node, Phase};
use crate::server::Tasks;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use storage::{CheckpointKind, Database, Feed, PromoteOptions, RedoEnd, StandbyRedo, WalFeed};
use tokio::task::JoinHandle;
use wal::{Lsn, TimelineId};

/// What redo waits for.
#[derive(Debug, Default)]
struct Wanted {
    /// The log is flushed up to here, on the history of this timeline.
    available: Option<(Lsn, TimelineId)>,
    promote: bool,
    stop: bool,
    paused: bool,
}

/// How the log's arrival, promotion and stop reach redo's thread.
#[derive(Debug, Default)]
pub(crate) struct RedoFeed {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

impl RedoFeed {
    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted.lock());
        self.changed.notify_all();
    }
    /// More log is durable.
    pub(crate) fn set_available(&self, upto: Lsn, timeline: TimelineId) {
        self.change(|wanted| wanted.available = Some((upto, timeline)));
    }
    /// Holds replay, or lets it go on.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.change(|wanted| wanted.paused = paused);
    }
    pub(crate) fn is_paused(&self) -> bool {
        self.wanted.lock().paused
    }
}

impl WalFeed for RedoFeed {
    fn wait_past(&self, lsn: Lsn) -> Feed {
        let mut wanted = self.wanted.lock();
        loop {
            if wanted.stop {
                return Feed::Stop;
            }
            if wanted.promote {
                return Feed::Promote;
            }
            match wanted.available {
                Some((upto, timeline)) if upto > lsn => return Feed::Available { upto, timeline },
                _ => self.changed.wait(&mut wanted),
            }
        }
    }

    fn may_replay(&self, _end: Lsn) -> bool {
        let mut wanted = self.wanted.lock();
        while wanted.paused && !wanted.stop && !wanted.promote {
            self.changed.wait(&mut wanted);
        }
        !wanted.stop
    }
}

type Ended = Result<RedoEnd, String>;

/// A standby at work.
pub(crate) struct Standby {
    node: Arc<Node>,
    feed: Arc<RedoFeed>,
    redo: JoinHandle<Ended>,
}

impl Standby {
    /// Starts redo, and what feeds it.
    pub(crate) fn start(
        node: Arc<Node>,
        tasks: &Arc<Tasks>,
        database: Database,
        mut redo: Box<StandbyRedo>,
    ) -> Self {
        let feed = Arc::new(RedoFeed::default());
        node.set_recovery(Some(feed.clone()));
        node.set_phase(Phase::Recovering);
        node.log.log(format!("redo starts at {}", redo.next_lsn()));
        let running = feed.clone();
        let redo =
            tokio::task::spawn_blocking(move || redo.run(&*running).map_err(|error| error.to_string()));
        tasks.tracker.spawn(announce(node.clone(), database, tasks.background.clone()));
        let mut promotions = node.promotions();
        let asked = feed.clone();
        let token = tasks.background.clone();
        tasks.tracker.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                _ = promotions.wait_for(|asked| *asked) => asked.change(|wanted| wanted.promote = true),
            }
        });
        Self { node, feed, redo }
    }

    /// Waits until redo has ended by itself.
    pub(crate) async fn ended(&mut self) -> Ended {
        (&mut self.redo).await.unwrap_or_else(|error| Err(format!("the redo thread failed: {error}")))
    }

    /// Turns the standby into a primary, if redo ended for that.
    pub(crate) async fn finish(self, ended: Ended, database: &Database) -> Result<(), ServerError> {
        let end = ended.map_err(ServerError::new)?;
        let RedoEnd::Promote { at, .. } = end else {
            return Err(ServerError::new("redo ended without a reason"));
        };
        let log = &self.node.log;
        log.log(format!("redo done at {at}"));
        let options =
            PromoteOptions { new_timeline: None, reason: "no recovery target specified".to_owned() };
        let promoted =
            database.promote(end, options).await.map_err(|error| ServerError::new(error.to_string()))?;
        log.log(format!("selected new timeline ID: {}", promoted.timeline));
        for name in ["standby.signal", "recovery.signal"] {
            match self.node.host.disk.remove_file(&self.node.data_dir.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ServerError::new(format!("could not remove file \"{name}\": {error}")));
                }
                _ => {}
            }
        }
        self.node
            .host
            .disk
            .sync_dir(&self.node.data_dir)
            .map_err(|error| ServerError::new(format!("could not sync the data directory: {error}")))?;
        self.node.set_recovery(None);
        log.log("archive recovery complete");
        let (node, database) = (self.node.clone(), database.clone());
        tokio::spawn(async move {
            if let Err(error) = database.checkpoint(CheckpointKind::EndOfRecovery).await {
                node.log.warning(format!("checkpoint after promotion failed: {error}"));
            }
        });
        Ok(())
    }

    /// Ends redo for a stop.
    pub(crate) async fn stop(mut self) {
        self.feed.change(|wanted| wanted.stop = true);
        if let Err(what) = self.ended().await {
            self.node.log.warning(what);
        }
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
