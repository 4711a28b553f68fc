//! Levels: when COMMIT is acknowledged.

use crate::Stage;

/// When COMMIT is acknowledged (synchronous_commit). Ordered from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SyncLevel {
    /// At once; the log follows within three times `wal_writer_delay`.
    Off,
    /// When this node has flushed the log.
    Local,
    /// And the synchronous standbys have written it.
    RemoteWrite,
    /// And the synchronous standbys have flushed it.
    #[default]
    On,
    /// And the synchronous standbys have replayed it.
    RemoteApply,
}

impl SyncLevel {
    /// All levels, from weakest to strongest.
    pub const ALL: [Self; 5] = [Self::Off, Self::Local, Self::RemoteWrite, Self::On, Self::RemoteApply];

    /// The word in synchronous_commit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Local => "local",
            Self::RemoteWrite => "remote_write",
            Self::On => "on",
            Self::RemoteApply => "remote_apply",
        }
    }

    /// The level of this word, as [`SyncLevel::name`] gives it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Its number in formats: its place in [`SyncLevel::ALL`].
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The level with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// What it waits for on standbys; None for a level that asks no standby.
    #[inline]
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::Off | Self::Local => None,
            Self::RemoteWrite => Some(Stage::Written),
            Self::On => Some(Stage::Flushed),
            Self::RemoteApply => Some(Stage::Replayed),
        }
    }

    /// What a remote level means while it is not waited for: the next weaker one. Levels that ask no standby
    /// mean [`SyncLevel::Local`].
    pub const fn below(self) -> Self {
        match self {
            Self::RemoteApply => Self::On,
            Self::On => Self::RemoteWrite,
            Self::RemoteWrite | Self::Local | Self::Off => Self::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back_to_their_level() {
        for level in SyncLevel::ALL {
            assert_eq!(SyncLevel::from_name(level.name()), Some(level));
            assert_eq!(SyncLevel::from_code(level.code()), Some(level));
        }
        assert_eq!((SyncLevel::from_name("remote"), SyncLevel::from_code(5)), (None, None));
        assert!(SyncLevel::ALL.is_sorted(), "from weakest to strongest");
    }

    #[test]
    fn each_stage_has_its_level_and_the_weakest_remote_one_falls_back_to_local() {
        for stage in Stage::ALL {
            assert_eq!(stage.level().stage(), Some(stage));
        }
        assert_eq!(SyncLevel::RemoteApply.below().below().below(), SyncLevel::Local);
    }
}
