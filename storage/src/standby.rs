//! A database in recovery: redo that follows a growing log while readers read.

use crate::Error;
use wal::{Lsn, TimelineId};

/// Tells redo how far the log in pg_wal may be read.
pub trait WalFeed: Send + Sync {
    /// Blocks until there is log past `lsn`, or redo shall end. Called on redo's own thread.
    fn wait_past(&self, lsn: Lsn) -> Feed;
    /// Called after each batch with the new replayed position, before the next wait.
    fn replayed(&self, lsn: Lsn) {
        let _ = lsn;
    }
}

/// What [`WalFeed::wait_past`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The log in pg_wal is flushed up to here (exclusive), on the history of this timeline.
    Available {
        /// The end, exclusive; need not be a record's.
        upto: Lsn,
        /// The latest timeline; history files say where it forks off.
        timeline: TimelineId,
    },
    /// Redo what is whole, then end for a promotion.
    Promote,
    /// End now.
    Stop,
}

/// Why [`StandbyRedo::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedoEnd {
    /// The feed said [`Feed::Promote`]: all whole records are redone.
    Promote {
        /// The end of the last one, aligned: where a new timeline begins.
        at: Lsn,
        /// The timeline that it is on.
        timeline: TimelineId,
    },
    /// The feed said [`Feed::Stop`].
    Stopped {
        /// The end of the last record redone.
        at: Lsn,
    },
}

/// Redo of a standby, to be run on a thread of its own.
#[derive(Debug)]
pub struct StandbyRedo {}

impl StandbyRedo {
    /// Redoes the log as `feed` lets it, until the feed ends it or a record is damaged.
    pub fn run(&mut self, feed: &dyn WalFeed) -> Result<RedoEnd, Error> {
        let _ = feed;
        Err(Error::WrongState("the engine is not assembled"))
    }
    /// Where the next record begins that will be redone: where streaming starts if pg_wal holds no more.
    pub fn next_lsn(&self) -> Lsn {
        Lsn::INVALID
    }
}
