//! What the log itself says of synchronous replication: the names in force, and the ranges that were
//! acknowledged without the standbys. It is a field of the state page, so standbys, backups and a promoted
//! node know it too.
//!
//! | bytes | contents of the field |
//! | ---- | ---- |
//! | 2 | length of synchronous_standby_names as it is kept here |
//! | ... | the names; the first 256 bytes of longer ones |
//! | 37 | each fallback, oldest first, as below |
//!
//! A fallback: timeline (4), level that was given up (1), begin (8), position after which (8), end (8,
//! [`OPEN`] while it lasts), position up to which (8).

use crate::SyncLevel;
use host::Timestamp;
use wal::codec::{Fields, PutFields, Short};
use wal::{Lsn, TimelineId};

/// Fallbacks that are kept; the oldest give way. A node's own ledger keeps all of them.
const FALLBACKS_MAX: usize = 16;
const NAMES_BYTES_MAX: usize = 256;
/// The end of a fallback that lasts.
const OPEN: i64 = i64::MIN;

/// A time during which commits did not wait for a level of the synchronous standbys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The timeline whose positions these are.
    pub timeline: TimelineId,
    /// The level, which was given up together with the stronger ones.
    pub level: SyncLevel,
    /// When it began.
    pub began: Timestamp,
    /// Commits that end after this were acknowledged without it.
    pub after: Lsn,
    /// When it ended, and the position up to which they were; None while it lasts.
    pub ended: Option<(Timestamp, Lsn)>,
}

/// What the log says of synchronous replication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncRecord {
    /// synchronous_standby_names
    pub names: String,
    /// The last fallbacks, oldest first.
    pub fallbacks: Vec<Fallback>,
}

impl SyncRecord {
    /// Adds a fallback; the oldest goes if there are too many.
    pub fn begin(&mut self, fallback: Fallback) {
        self.fallbacks.push(fallback);
        let surplus = self.fallbacks.len().saturating_sub(FALLBACKS_MAX);
        self.fallbacks.drain(..surplus);
    }

    /// The one that lasts.
    pub fn open(&mut self) -> Option<&mut Fallback> {
        self.fallbacks.last_mut().filter(|last| last.ended.is_none())
    }

    /// Whether the names are all that the setting names, as far as can be told: long ones may be cut.
    pub fn has_all_names(&self) -> bool {
        self.names.len() + char::MAX.len_utf8() <= NAMES_BYTES_MAX
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let ends = self.names.char_indices().map(|(at, one)| at + one.len_utf8());
        let length = ends.take_while(|end| *end <= NAMES_BYTES_MAX).last().unwrap_or(0);
        let names = self.names.get(..length).unwrap_or_default();
        let mut out = Vec::new();
        out.put_u16(u16::try_from(names.len()).unwrap_or(0));
        out.put(names.as_bytes());
        for fallback in &self.fallbacks {
            let (ended, upto) = fallback.ended.map_or((OPEN, 0), |(at, upto)| (at.micros(), upto.get()));
            out.put_u32(fallback.timeline.get());
            out.put_u8(fallback.level.code());
            out.put_i64(fallback.began.micros());
            out.put_u64(fallback.after.get());
            out.put_i64(ended);
            out.put_u64(upto);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(bytes);
        let length = usize::from(fields.u16()?);
        let names = String::from_utf8_lossy(fields.take(length)?).into_owned();
        let mut fallbacks = Vec::new();
        while fields.left() > 0 {
            let timeline = TimelineId::new(fields.u32()?);
            let remote = SyncLevel::from_code(fields.u8()?).filter(|level| level.stage().is_some());
            let level = remote.unwrap_or(SyncLevel::On);
            let began = Timestamp::from_micros(fields.i64()?);
            let after = Lsn::new(fields.u64()?);
            let (ended, upto) = (fields.i64()?, Lsn::new(fields.u64()?));
            let ended = (ended != OPEN).then(|| (Timestamp::from_micros(ended), upto));
            fallbacks.push(Fallback { timeline, level, began, after, ended });
        }
        Ok(Self { names, fallbacks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fallback(n: i64, ended: Option<(Timestamp, Lsn)>) -> Fallback {
        Fallback {
            timeline: TimelineId::FIRST,
            level: SyncLevel::RemoteWrite,
            began: Timestamp::from_micros(n),
            after: Lsn::new(7),
            ended,
        }
    }

    #[test]
    fn it_comes_back_from_its_bytes_and_damage_is_told() {
        let mut state = SyncRecord { names: "FIRST 1 (ä, b)".to_owned(), fallbacks: Vec::new() };
        state.begin(fallback(1, Some((Timestamp::from_micros(5), Lsn::new(9)))));
        state.begin(fallback(6, None));
        let bytes = state.encode();
        assert_eq!(SyncRecord::decode(&bytes).unwrap(), state);
        assert!(SyncRecord::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(SyncRecord::decode(&bytes[..3]).is_err());
    }

    #[test]
    fn long_names_and_many_fallbacks_stay_within_the_page() {
        let mut state = SyncRecord { names: "ä".repeat(5000), fallbacks: Vec::new() };
        for n in 0..100 {
            state.begin(fallback(n, Some((Timestamp::from_micros(n), Lsn::new(9)))));
        }
        assert_eq!(state.fallbacks.first().map(|first| first.began.micros()), Some(84));
        // The list of early xids has most of the page.
        assert!(state.encode().len() < 900);
        assert!(state.open().is_none());
        let kept = SyncRecord::decode(&state.encode()).unwrap();
        assert_eq!((kept.names.len(), kept.fallbacks.len()), (256, 16));
        assert!(!kept.has_all_names());
        let short = SyncRecord { names: "ANY 1 (a)".to_owned(), fallbacks: Vec::new() };
        assert!(short.has_all_names());
    }
}
