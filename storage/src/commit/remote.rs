//! How far the synchronous standbys are, and what of that commits at each level wait for.

use super::suspension::Suspended;
use crate::SyncLevel;
use durability::{Stage, Stages};
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
    /// The quorum has replayed, and holds durably, the log up to here (exclusive).
    pub replayed: Lsn,
}

/// What standbys shall report at once, since somebody here waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteStages {
    /// The stages that commits wait for.
    pub stages: Stages,
    /// No commit, but readers of a standby wait for the word that commits are confirmed, which the server
    /// before it gives.
    pub confirmed: bool,
}

/// The bit of [`RemoteStages::confirmed`], next to those of [`Stages`].
pub(super) const CONFIRMED_BIT: u8 = 8;

impl RemoteStages {
    pub(super) const fn of_bits(bits: u8) -> Self {
        Self { stages: Stages::from_byte(bits), confirmed: bits & CONFIRMED_BIT != 0 }
    }
}

impl RemoteProgress {
    /// How far the quorum holds a log that is flushed here up to `flushed`; None while none is required.
    pub(super) fn confirmed(&self, flushed: Lsn) -> Option<Lsn> {
        self.required.then(|| flushed.min(self.flushed))
    }

    /// How far the quorum has come at this stage.
    pub(super) fn at(&self, stage: Stage) -> Lsn {
        match stage {
            Stage::Written => self.written,
            Stage::Flushed if host::planted!("on waits for remote_write only") => self.written,
            Stage::Replayed if host::planted!("remote_apply waits for on only") => self.flushed,
            Stage::Flushed => self.flushed,
            Stage::Replayed => self.replayed,
        }
    }

    /// What the quorum has reached of what a remote level waits for; the end of everything for other levels.
    pub(super) fn reached(&self, level: SyncLevel) -> Lsn {
        level.stage().map_or(Lsn::MAX, |stage| self.at(stage))
    }
}

/// The last report, and what is suspended.
#[derive(Debug, Default)]
pub(super) struct Remote {
    pub(super) progress: RemoteProgress,
    pub(super) suspended: Option<Suspended>,
    /// Nothing up to here is in doubt: it was confirmed before this start, or nobody was asked to confirm it.
    pub(super) floor: Lsn,
    /// Whether a quorum was required last, maybe before this start.
    pub(super) was_required: bool,
    /// The range of commits that wait for standbys although none are named any more: until they are released
    /// a quorum stays required. Those behind it found nobody named.
    pub(super) unnamed: Option<(Lsn, Lsn)>,
}

impl Remote {
    /// How far what a remote level waits for is known to be held.
    pub(super) fn reached(&self, level: SyncLevel) -> Lsn {
        self.progress.reached(level).max(self.floor)
    }

    /// Whether commits at this level wait for standbys.
    pub(super) fn waits_for(&self, level: SyncLevel) -> bool {
        let suspended = self.suspended.is_some_and(|suspended| level >= suspended.level);
        level.stage().is_some() && self.progress.required && !suspended
    }

    /// How far commits at each remote level are done, of a log that is flushed here up to `flushed`.
    pub(super) fn effective(&self, flushed: Lsn) -> [Lsn; 3] {
        let mut below = flushed;
        Stage::ALL.map(|stage| {
            if self.waits_for(stage.level()) {
                below = flushed.min(self.progress.at(stage));
            }
            below
        })
    }
}
