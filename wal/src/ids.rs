//! The numbers that name places in the log and in the data, each a type of its own.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

/// A text that is not a number of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind}: \"{text}\"")]
pub struct ParseIdError {
    kind: &'static str,
    text: String,
}

impl ParseIdError {
    pub(crate) fn new(kind: &'static str, text: &str) -> Self {
        Self { kind, text: text.chars().take(64).collect() }
    }
}

/// A byte position in the log (XLogRecPtr). As an end it is exclusive: the first byte not yet covered.
///
/// Text form `XXXXXXXX/XXXXXXXX`: high and low half in hexadecimal without leading zeros, as pg_lsn prints
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// InvalidXLogRecPtr: no position.
    pub const INVALID: Self = Self(0);
    /// Above every position.
    pub const MAX: Self = Self(u64::MAX);

    /// From its 64-bit value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }
    /// The 64-bit value.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// Whether this names a position (is not 0).
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
    /// This position moved on by `bytes`, or None past the end of the number space.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }
    /// Bytes from `earlier` to here, 0 if it lies behind.
    pub const fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// Rounded up to a multiple of 8 (MAXALIGN), where records start.
    pub const fn aligned(self) -> Self {
        Self((self.0 + 7) & !7)
    }
    /// The offset inside the 8 KiB WAL page.
    pub const fn page_offset(self) -> usize {
        (self.0 % 8192) as usize
    }
    /// The start of the 8 KiB WAL page that holds this byte.
    pub const fn page_start(self) -> Self {
        Self(self.0 - self.0 % 8192)
    }
}

impl Add<u64> for Lsn {
    type Output = Self;
    /// Our own arithmetic on positions that exist: overflow is a defect, so it saturates to MAX.
    fn add(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

impl Sub<u64> for Lsn {
    type Output = Self;
    /// Saturates to INVALID.
    fn sub(self, bytes: u64) -> Self {
        Self(self.0.saturating_sub(bytes))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let half = |part: &str| {
            let plain = (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| ParseIdError::new("log sequence number", text))
    }
}

/// A branch of the log's history (TimeLineID), counted from 1; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimelineId(u32);

impl TimelineId {
    /// No timeline.
    pub const INVALID: Self = Self(0);
    /// The timeline of a new cluster.
    pub const FIRST: Self = Self(1);
    /// From its number.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
    /// The next number, or None at the last.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TimelineId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse().map(Self).map_err(|_| ParseIdError::new("timeline", text))
    }
}

/// The size of a WAL segment file: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// 16 MiB, the default.
    pub const DEFAULT: Self = Self(16 << 20);

    /// Bytes; None unless a power of two from 1 MiB to 1 GiB.
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= 1 << 20 && bytes <= 1 << 30 {
            Some(Self(bytes as u32))
        } else {
            None
        }
    }
    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }
    /// The segment that holds the byte at `lsn`.
    pub const fn segment_of(self, lsn: Lsn) -> SegmentNumber {
        SegmentNumber(lsn.0 / self.0 as u64)
    }
    /// The segment that holds the byte before `end` (for exclusive ends).
    pub const fn segment_before(self, end: Lsn) -> SegmentNumber {
        SegmentNumber(end.0.saturating_sub(1) / self.0 as u64)
    }
    /// The offset of `lsn` inside its segment.
    pub const fn offset_of(self, lsn: Lsn) -> u64 {
        lsn.0 % self.0 as u64
    }
    /// The first byte of a segment.
    pub const fn start_of(self, segment: SegmentNumber) -> Lsn {
        Lsn(segment.0.saturating_mul(self.0 as u64))
    }
}

/// A segment's place in the log (XLogSegNo): the log's bytes divided by the segment size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(u64);

impl SegmentNumber {
    /// From its number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The segment after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A page's place in its relation fork (BlockNumber); 0xFFFFFFFF is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(u32);

impl BlockNumber {
    /// InvalidBlockNumber: no page.
    pub const INVALID: Self = Self(u32::MAX);
    /// From its number.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
    /// Whether this names a page.
    pub const fn is_valid(self) -> bool {
        self.0 != u32::MAX
    }
}

impl fmt::Display for BlockNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A transaction id, 64 bits wide (FullTransactionId). The low half 0 to 2 is never given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(u64);

impl Xid {
    /// No transaction.
    pub const INVALID: Self = Self(0);
    /// The first one given out.
    pub const FIRST_NORMAL: Self = Self(3);
    /// From its 64-bit value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }
    /// The 64-bit value.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// Whether this names a transaction.
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
    /// xl_xid: the low half, as records carry it.
    pub const fn low(self) -> u32 {
        self.0 as u32
    }
    /// The epoch: the high half.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// The id after this one; low halves 0 to 2 are skipped.
    pub const fn next(self) -> Self {
        let next = self.0.saturating_add(1);
        if (next as u32) < 3 { Self((next & !0xFFFF_FFFF) | 3) } else { Self(next) }
    }
    /// From its halves.
    pub const fn from_halves(epoch: u32, low: u32) -> Self {
        Self((epoch as u64) << 32 | low as u64)
    }
    /// The full id within 2^31 of `near` whose low half is `low`; INVALID for low 0.
    pub const fn from_low(low: u32, near: Self) -> Self {
        if low == 0 {
            return Self(0);
        }
        let distance = low.wrapping_sub(near.0 as u32) as i32;
        Self(near.0.wrapping_add(distance as i64 as u64))
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number that tells clusters apart (system_identifier), made at init and shared by all its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemId(u64);

impl SystemId {
    /// From its number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SystemId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse().map(Self).map_err(|_| ParseIdError::new("system identifier", text))
    }
}

/// The files of one relation (RelFileNode): tablespace, database, file number. Files lie at
/// `base/<database>/<relation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelFile {
    /// Tablespace OID; always [`RelFile::DEFAULT_TABLESPACE`] here.
    pub tablespace: u32,
    /// Database OID.
    pub database: u32,
    /// Relation file number (relfilenode).
    pub relation: u32,
}

impl RelFile {
    /// pg_default.
    pub const DEFAULT_TABLESPACE: u32 = 1663;
    /// A relation of a database in the default tablespace.
    pub const fn new(database: u32, relation: u32) -> Self {
        Self { tablespace: Self::DEFAULT_TABLESPACE, database, relation }
    }
}

impl fmt::Display for RelFile {
    /// The path below the data directory, as PostgreSQL's messages name relations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "base/{}/{}", self.database, self.relation)
    }
}

/// A fork of a relation (ForkNumber). The engine's own records use the main fork only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// The data.
    Main,
    /// Free space map.
    FreeSpace,
    /// Visibility map.
    Visibility,
    /// Initial contents of unlogged relations.
    Init,
}

impl Fork {
    /// ForkNumber as records carry it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Main => 0,
            Self::FreeSpace => 1,
            Self::Visibility => 2,
            Self::Init => 3,
        }
    }
    /// From the number in a record; None if there is no such fork.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Main),
            1 => Some(Self::FreeSpace),
            2 => Some(Self::Visibility),
            3 => Some(Self::Init),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_text_is_that_of_pg_lsn() {
        for (value, text) in [(0, "0/0"), (0x0001_6B37_48D8, "1/6B3748D8"), (u64::MAX, "FFFFFFFF/FFFFFFFF")] {
            assert_eq!(Lsn::new(value).to_string(), text);
            assert_eq!(text.parse::<Lsn>(), Ok(Lsn::new(value)));
        }
        for text in ["", "/", "1/", "/1", "g/0", "0/123456789", "+1/0", "0x1/0", "1/ 2"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?} is no pg_lsn");
        }
    }

    #[test]
    fn xids_skip_the_reserved_low_halves_and_widen_to_the_nearest() {
        let last = Xid::new(0x1_FFFF_FFFF);
        assert_eq!(last.next(), Xid::new(0x2_0000_0003));
        assert_eq!(Xid::from_low(5, last), Xid::new(0x2_0000_0005));
        assert_eq!(Xid::from_low(0xFFFF_FFF0, Xid::new(0x2_0000_0003)), Xid::new(0x1_FFFF_FFF0));
    }
}
