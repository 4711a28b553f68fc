//! The commit pipeline: one committer at a time, levels, visibility.

use std::sync::Arc;
use wal::Lsn;

/// How far the synchronous standbys are, as the quorum rule counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteProgress {
    /// Synchronous standbys are named: the remote levels wait for the positions below. False makes every
    /// remote level mean [`crate::SyncLevel::Local`].
    pub required: bool,
    /// The quorum has written the log up to here (exclusive).
    pub written: Lsn,
    /// The quorum has flushed the log up to here (exclusive).
    pub flushed: Lsn,
    /// The quorum has replayed the log up to here (exclusive).
    pub applied: Lsn,
}

/// Where replication tells the commit pipeline of the quorum's progress; cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct CommitGate(Arc<()>);

impl CommitGate {
    /// Takes new positions. They only move forward; `required` may change either way, and a change to false
    /// releases every commit that waited for standbys (the caller records that).
    pub fn set_remote(&self, progress: RemoteProgress) {
        let _ = progress;
    }

    /// The last progress taken.
    pub fn remote(&self) -> RemoteProgress {
        RemoteProgress::default()
    }

    /// The commits of before this start that are still undecided, as the range after which and up to which they
    /// lie; None if there are none.
    pub fn undecided(&self) -> Option<(Lsn, Lsn)> {
        None
    }

    /// Gives up waiting for the quorum to hold the commits of before this start
    /// (plimsoll.unconfirmed_timeout): they become visible. Returns the range, for the ledger and the log line.
    pub fn release_unconfirmed(&self) -> Option<(Lsn, Lsn)> {
        None
    }
}
