//! Whether the server that this one receives from is of use: by what it says of the way of its log
//! ([`crate::roster::route`]), which a PostgreSQL server and a node of before do not.
//!
//! It is left for another one
//!
//! - at once, if it receives from this server itself;
//! - if it tells of no primary for as long as a silence may last, and primary_conninfo names other servers.
//!   They are asked then, and it once more if none of them answers. If it is the one again, it is left again
//!   after twice that time, and so on up to [`DOUBLINGS_MAX`] times, until a primary is heard of. So a
//!   cascade whose primary is away for long moves seldom, and one of which only a part lost the primary comes
//!   back.
//!
//! Who knows no other server has no reason to leave one for that.

use super::Receiver;
use crate::error::ReplicaError;
use crate::roster::route::{Judged, Source};
use std::time::Duration;

/// How long no primary may be heard of without wal_receiver_timeout.
const PATIENCE: Duration = Duration::from_secs(60);
const DOUBLINGS_MAX: u32 = 4;

/// The server that was reached.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// In messages.
    server: String,
    has_others: bool,
    /// Since when this stream tells of no primary.
    without_primary: Option<Duration>,
    /// How often one was left for that since a primary was heard of.
    left: u32,
}

impl Receiver {
    /// This server was reached, in messages. `has_others`: the settings name more.
    pub fn set_server(&mut self, server: String, has_others: bool) {
        (self.upstream.server, self.upstream.has_others) = (server, has_others);
    }

    /// How often a server was left because no primary was heard of over it, since one was.
    pub fn servers_left(&self) -> u32 {
        self.upstream.left
    }

    /// As often as a receiver before this one has told.
    pub fn set_servers_left(&mut self, left: u32) {
        self.upstream.left = left;
    }

    /// A stream begins, of which nothing is known yet.
    pub(super) fn forget_route(&mut self) {
        self.upstream.without_primary = None;
    }

    pub(super) fn on_route(
        &mut self,
        source: Source,
        judged: Judged,
        now: Duration,
    ) -> Result<(), ReplicaError> {
        let upstream = &mut self.upstream;
        if judged == Judged::Leave {
            return Err(ReplicaError::FollowsUs(upstream.server.clone()));
        }
        match source {
            Source::Nobody => _ = upstream.without_primary.get_or_insert(now),
            Source::Primary | Source::Untold => (upstream.without_primary, upstream.left) = (None, 0),
        }
        Ok(())
    }

    /// How long a primary may be unheard of before another server is looked for.
    fn patience(&self) -> Duration {
        let once = self.options.timeout.unwrap_or(PATIENCE);
        once.saturating_mul(1 << self.upstream.left.min(DOUBLINGS_MAX))
    }

    /// When the server is left.
    pub(super) fn leaves_at(&self) -> Option<Duration> {
        let since = self.upstream.without_primary.filter(|_| self.upstream.has_others);
        since.map(|since| since.saturating_add(self.patience()))
    }

    /// Leaves a server over which no primary was heard of for too long.
    pub(super) fn look_for_primary(&mut self, now: Duration) -> Result<(), ReplicaError> {
        if self.leaves_at().is_none_or(|at| now < at) {
            return Ok(());
        }
        let silent = self.patience();
        self.upstream.left += 1;
        Err(ReplicaError::NoPrimary { server: self.upstream.server.clone(), silent })
    }
}
