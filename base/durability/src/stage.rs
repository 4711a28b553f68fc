//! Stages: what a standby has done with the log.

use crate::SyncLevel;

/// What a standby has done with the log. Ordered: each stage includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Handed to its kernel.
    Written,
    /// Durable there.
    Flushed,
    /// Replayed there.
    Replayed,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 3] = [Self::Written, Self::Flushed, Self::Replayed];

    /// The level that waits for it.
    pub const fn level(self) -> SyncLevel {
        match self {
            Self::Written => SyncLevel::RemoteWrite,
            Self::Flushed => SyncLevel::On,
            Self::Replayed => SyncLevel::RemoteApply,
        }
    }

    /// Its place in [`Stage::ALL`].
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its bit in a byte of [`Stages`]. Streams between nodes carry these: they are part of the protocol and
    /// follow the order in which the stages came into it.
    #[inline]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Written => 1,
            Self::Flushed => 4,
            Self::Replayed => 2,
        }
    }
}

/// Some of the stages: those that commits wait for, for instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    /// No stage.
    pub const NONE: Self = Self(0);
    /// Every stage.
    pub const ALL: Self = Self(Stage::Written.bit() | Stage::Flushed.bit() | Stage::Replayed.bit());

    /// These stages.
    pub fn of(stages: impl IntoIterator<Item = Stage>) -> Self {
        Self(stages.into_iter().fold(0, |bits, stage| bits | stage.bit()))
    }

    /// Whether a stage is among them.
    #[inline]
    pub const fn has(self, stage: Stage) -> bool {
        self.0 & stage.bit() != 0
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The byte that streams between nodes carry: a bit for each stage ([`Stage::bit`]).
    #[inline]
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// From such a byte; bits that are no stage's are ignored.
    #[inline]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte & Self::ALL.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_on_the_wire_is_written_1_replayed_2_flushed_4() {
        assert_eq!(Stage::ALL.map(|stage| Stages::of([stage]).to_byte()), [1, 4, 2]);
        for byte in 0..=u8::MAX {
            let stages = Stages::from_byte(byte);
            assert_eq!(stages.to_byte(), byte & 7);
            assert_eq!(Stages::of(Stage::ALL.into_iter().filter(|stage| stages.has(*stage))), stages);
        }
        assert!(Stages::NONE.is_empty() && !Stages::ALL.is_empty());
    }
}
