//! This node's log as senders see it.

use std::sync::Arc;
use tokio::sync::watch;
use wal::history::TimelineHistory;
use wal::{Lsn, StandbyPositions, WalWriter};

/// Who moves the log's end.
#[derive(Clone, Debug)]
pub enum Live {
    /// A primary's writer.
    Primary(WalWriter),
    /// A standby's receiver.
    Standby(Arc<StandbyPositions>),
}

/// Whether the node is on its way down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopping {
    /// It runs.
    #[default]
    No,
    /// It stops; the shutdown checkpoint is still to come.
    Soon,
    /// The last record is flushed and ends here.
    LogEnds(Lsn),
}

/// The log at a moment.
#[derive(Clone, Debug)]
pub struct LogState {
    /// The history of the timeline that is written or followed.
    pub history: TimelineHistory,
    /// Who moves its end.
    pub live: Live,
    /// Whether the node is on its way down.
    pub stopping: Stopping,
}

impl LogState {
    /// The end of what may be sent.
    pub fn flushed(&self) -> Lsn {
        match &self.live {
            Live::Primary(writer) => writer.positions().flushed(),
            Live::Standby(positions) => positions.flushed(),
        }
    }

    /// Waits until there is something past `lsn`; for ever once the log has ended.
    pub async fn wait_past(&self, lsn: Lsn) {
        let reached = match &self.live {
            Live::Primary(writer) => writer.positions().wait_flushed_past(lsn).await,
            Live::Standby(positions) => positions.wait_flushed_past(lsn).await,
        };
        if reached.is_err() {
            std::future::pending().await
        }
    }
}

/// The log, watched by all senders; cloning shares it. The server changes it at promotion and stop, the receiver when
/// it follows a new timeline.
#[derive(Clone, Debug)]
pub struct NodeLog(Arc<watch::Sender<Arc<LogState>>>);

impl NodeLog {
    /// The log as it is now.
    pub fn new(state: LogState) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(state))))
    }
    /// The log as it is now.
    pub fn state(&self) -> Arc<LogState> {
        self.0.borrow().clone()
    }
    /// Tells of changes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<LogState>> {
        self.0.subscribe()
    }
    /// Changes it.
    pub fn update(&self, change: impl FnOnce(&mut LogState)) {
        self.0.send_modify(|state| change(Arc::make_mut(state)));
    }
    /// A new history is followed, or written after a promotion.
    pub fn set_history(&self, history: TimelineHistory) {
        self.update(|state| state.history = history);
    }
    /// The node was promoted: it writes `history`'s timeline with this writer.
    pub fn set_primary(&self, history: TimelineHistory, writer: WalWriter) {
        self.update(|state| (state.history, state.live) = (history, Live::Primary(writer)));
    }
    /// The node goes down.
    pub fn set_stopping(&self, stopping: Stopping) {
        self.update(|state| state.stopping = stopping);
    }
}
