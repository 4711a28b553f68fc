//! Hands received log to redo.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use storage::{Feed, WalFeed};
use tokio::sync::watch;
use wal::{Lsn, StandbyPositions, TimelineId};

#[derive(Debug, Default)]
struct Orders {
    available: Option<(Lsn, TimelineId)>,
    /// What redo was last told that it may read.
    given: Lsn,
    promote: bool,
    stop: bool,
    paused: bool,
}

/// The way from the receiver, and from the server's orders, to redo's thread.
#[derive(Debug)]
pub struct StandbyFeed {
    orders: Mutex<Orders>,
    changed: Condvar,
    positions: Arc<StandbyPositions>,
    /// Where redo ran out of local log.
    wanted: watch::Sender<Option<Lsn>>,
}

impl StandbyFeed {
    /// A feed without log. It moves `replayed` of these positions.
    pub fn new(positions: Arc<StandbyPositions>) -> Arc<Self> {
        let wanted = watch::Sender::new(None);
        Arc::new(Self { orders: Mutex::default(), changed: Condvar::new(), positions, wanted })
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock());
        self.changed.notify_all();
    }

    /// Waits until redo has used up what pg_wal held; gives the end of the last whole record, where a receiver starts.
    pub async fn wait_wanted(&self) -> Lsn {
        let mut wanted = self.wanted.subscribe();
        // The sender lives in self, so this cannot fail.
        let found = wanted.wait_for(Option::is_some).await.ok().and_then(|lsn| *lsn);
        found.unwrap_or(Lsn::INVALID)
    }

    /// The log is durable up to here, on the history of this timeline.
    pub fn set_available(&self, upto: Lsn, timeline: TimelineId) {
        self.order(|orders| orders.available = Some((upto, timeline)));
    }
    /// Redo shall end for a promotion, after what is available. Stop the receiver first.
    pub fn promote(&self) {
        self.order(|orders| orders.promote = true);
    }
    /// Redo shall end.
    pub fn stop(&self) {
        self.order(|orders| orders.stop = true);
        self.positions.stop();
    }
    /// Holds replay (pg_wal_replay_pause), or lets it go on.
    pub fn set_paused(&self, paused: bool) {
        self.order(|orders| orders.paused = paused);
    }
    /// Whether replay is held.
    pub fn is_paused(&self) -> bool {
        self.orders.lock().paused
    }
    /// The positions that receiver and redo move.
    pub fn positions(&self) -> Arc<StandbyPositions> {
        self.positions.clone()
    }
}

impl WalFeed for StandbyFeed {
    fn wait_past(&self, lsn: Lsn) -> Feed {
        self.wanted.send_if_modified(|wanted| {
            let first = wanted.is_none();
            if first {
                *wanted = Some(lsn);
            }
            first
        });
        let mut orders = self.orders.lock();
        loop {
            if orders.stop {
                return Feed::Stop;
            }
            match orders.available {
                // What came before the order to promote is replayed before it.
                Some((upto, timeline)) if upto > lsn.max(orders.given) || (upto > lsn && !orders.promote) => {
                    orders.given = upto;
                    return Feed::Available { upto, timeline };
                }
                _ if orders.promote => return Feed::Promote,
                _ => self.changed.wait(&mut orders),
            }
        }
    }

    fn replayed(&self, lsn: Lsn) {
        self.positions.set_replayed(lsn);
    }

    fn may_replay(&self, _end: Lsn) -> bool {
        let mut orders = self.orders.lock();
        while orders.paused && !orders.stop && !orders.promote {
            self.changed.wait(&mut orders);
        }
        !orders.stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Arc<StandbyFeed> {
        StandbyFeed::new(Arc::new(StandbyPositions::new(Lsn::new(10))))
    }
    fn available(upto: u64) -> Feed {
        Feed::Available { upto: Lsn::new(upto), timeline: TimelineId::FIRST }
    }

    #[test]
    fn what_came_before_a_promotion_is_replayed_before_it() {
        let feed = feed();
        feed.set_available(Lsn::new(50), TimelineId::FIRST);
        feed.promote();
        assert_eq!(feed.wait_past(Lsn::new(10)), available(50));
        assert_eq!(feed.wait_past(Lsn::new(40)), Feed::Promote, "50 is in the middle of a record");
    }

    #[tokio::test]
    async fn the_first_question_says_where_a_receiver_starts() {
        let feed = feed();
        let redo = std::thread::spawn({
            let feed = feed.clone();
            move || feed.wait_past(Lsn::new(33))
        });
        assert_eq!(feed.wait_wanted().await, Lsn::new(33));
        feed.set_available(Lsn::new(34), TimelineId::FIRST);
        assert_eq!(redo.join().unwrap(), available(34));
    }

    #[test]
    fn a_pause_holds_replay_until_it_is_lifted_or_the_node_stops() {
        let feed = feed();
        feed.set_paused(true);
        let held = std::thread::spawn({
            let feed = feed.clone();
            move || feed.may_replay(Lsn::new(20))
        });
        feed.set_paused(false);
        assert!(held.join().unwrap());
        feed.set_paused(true);
        feed.stop();
        assert!(!feed.may_replay(Lsn::new(20)));
    }
}
