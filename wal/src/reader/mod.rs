//! Reading the log: one reader for recovery, redo on standbys, waldump, clone, rewind and the sender.
//!
//! It puts records together over page and segment borders, follows timelines, and checks everything the
//! format promises. What it answers are three types: a record, the end of the log with its reason, or an
//! error (damage, I/O, a segment that is gone).
//!
//! Where a bad record lies decides what it is. Below a proven flush point it is damage
//! ([`ReadError::Corrupt`]); at or above, it is where the log ends: cleanly, or torn by a crash in the middle
//! of a write ([`EndOfWal::torn`]). What proves a flush: what the caller knows ([`WalReader::prove_flush`]),
//! and for a node that wrote this log itself also what lies behind the end ([`WalReader::verify_end`]).
//!
//! Memory: one chunk of at most 128 KiB, and the record that is being put together, which grows only as its
//! pages arrive and pass.

mod archived;
mod compare;
mod copy;
mod proof;
mod search;
mod source;
mod walk;

pub use archived::ArchivedEnd;
pub use compare::Compared;
pub use copy::{SegmentCopy, Sought};
pub use proof::{CutTail, FlushProof};
pub use source::{SegmentFiles, SegmentSupply, SourceError, WalBytes, WalSource};
pub use walk::WalReader;

use crate::ids::{Lsn, SegmentSize, SystemId};
use crate::page::PageDefect;
use crate::record::{RECORD_SIZE_MAX, Record, RecordDefect};

/// What a reader must know before it starts.
#[derive(Clone, Copy, Debug)]
pub struct ReaderOptions {
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// The cluster; None to take whatever the segments say.
    pub system_id: Option<SystemId>,
    /// The longest record that is believed, in bytes.
    pub record_size_max: u32,
    /// Up to here (exclusive) the log is known to have been flushed, so that a bad record below it is damage.
    pub proven_flush: Lsn,
}

impl ReaderOptions {
    /// PostgreSQL's limits, nothing proven.
    pub const fn new(segment_size: SegmentSize) -> Self {
        Self { segment_size, system_id: None, record_size_max: RECORD_SIZE_MAX, proven_flush: Lsn::INVALID }
    }
}

/// What comes next in the log.
#[derive(Clone, Debug)]
pub enum Next {
    /// A record.
    Record(Record),
    /// No record, so far.
    End(EndOfWal),
}

/// Where and why the log ends. Reading may be tried again at any time: what has arrived meanwhile is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfWal {
    /// The end of the last good record: where the next one belongs.
    pub at: Lsn,
    /// Why.
    pub reason: EndReason,
    /// Whether something was begun here that is not whole; false where the log ends cleanly.
    pub torn: bool,
    /// A record whose first pages are there and whose rest is not. A primary that recovers from a crash goes
    /// on at `missing_at` with
    /// [`XlogRecord::OverwriteContrecord`](crate::xlog::XlogRecord::OverwriteContrecord), since the first
    /// pages may have been shipped.
    pub broken: Option<BrokenRecord>,
}

impl EndOfWal {
    /// Where a writer goes on: what lies before is left as it is.
    pub fn writes_on_at(&self) -> Lsn {
        self.broken.map_or(self.at, |broken| broken.missing_at)
    }

    /// Whether a log that was durable up to `flushed` (exclusive) cannot end here. A writer that gives up a
    /// broken record begins behind its first pages, so that place says nothing of what is missing there.
    pub fn is_disproved_by(&self, flushed: Lsn) -> bool {
        flushed > self.at && self.broken.is_none_or(|broken| broken.missing_at != flushed)
    }
}

/// A record of which only the first pages are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenRecord {
    /// Its start.
    pub start: Lsn,
    /// The start of the first page that does not continue it.
    pub missing_at: Lsn,
}

impl EndReason {
    /// The position that could not be read.
    pub const fn at(&self) -> Lsn {
        match self {
            Self::NotYet { at } | Self::Invalid(Damage { at, .. }) => *at,
        }
    }
}

/// Why there is no further record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// The source has no bytes from there on.
    #[error("no WAL at {at} yet")]
    NotYet {
        /// The first byte that is wanted and not there.
        at: Lsn,
    },
    /// What is there is no record.
    #[error("{0}")]
    Invalid(Damage),
}

/// Something that is not as the format promises, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{defect} at {at}")]
pub struct Damage {
    /// The record's or the page's start.
    pub at: Lsn,
    /// What is wrong, with what was expected and found.
    pub defect: Defect,
}

/// What can be wrong in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Zeros where a record would start: nothing was written here.
    #[error("no record (zero length)")]
    NoRecord,
    /// xl_tot_len is shorter than a header.
    #[error("invalid record length: expected at least {expected}, found {found}")]
    LengthTooShort {
        /// Bytes of a header.
        expected: u32,
        /// xl_tot_len.
        found: u32,
    },
    /// xl_tot_len is longer than any record.
    #[error("record length {found} is above the limit of {limit}")]
    LengthTooLong {
        /// The limit in bytes.
        limit: u32,
        /// xl_tot_len.
        found: u32,
    },
    /// xl_prev is not the record before.
    #[error("record with incorrect prev-link {found}, expected {expected}")]
    Previous {
        /// Start of the record before.
        expected: Lsn,
        /// xl_prev.
        found: Lsn,
    },
    /// xl_prev does not lie before the record (the one before is not known).
    #[error("record with prev-link {found} that does not lie before it")]
    PreviousAhead {
        /// xl_prev.
        found: Lsn,
    },
    /// A page header.
    #[error("{0}")]
    Page(#[from] PageDefect),
    /// The record's own bytes.
    #[error("{0}")]
    Record(#[from] RecordDefect),
    /// A record should start on this page, which says that it continues one.
    #[error("page continues a record of which {remaining} bytes remain, a record start was expected")]
    UnexpectedContinuation {
        /// xlp_rem_len.
        remaining: u32,
    },
    /// The page should continue a record and does not say so.
    #[error("page does not continue the record before, of which {expected} bytes are missing")]
    NoContinuation {
        /// Bytes still to come.
        expected: u32,
    },
    /// The page continues a record of another length.
    #[error("invalid continuation length {found}, expected {expected}")]
    ContinuationLength {
        /// Bytes still to come.
        expected: u32,
        /// xlp_rem_len.
        found: u32,
    },
    /// A page says that the rest of a record was given up, and there is none.
    #[error("page gives up an incomplete record, and the record before is complete")]
    NothingToGiveUp,
    /// A page says that the rest of a record was given up, and no record that says so follows.
    #[error("no record gives up the incomplete record at {expected}")]
    NoOverwrite {
        /// Start of the incomplete record.
        expected: Lsn,
    },
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A bad record below a point up to which the log was flushed.
    #[error("WAL is damaged: {reason}, in {place}, although it was flushed up to {proven_flush}")]
    Corrupt {
        /// What is wrong, with what was expected and found.
        reason: EndReason,
        /// The end of the last good record.
        at: Lsn,
        /// The file and the offset in it, as far as the source knows them.
        place: String,
        /// The proof.
        proven_flush: Lsn,
    },
    /// Bytes could not be had: a segment that is gone, or an I/O error.
    #[error(transparent)]
    Source(#[from] SourceError),
}
