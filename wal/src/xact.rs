//! Records of transactions (resource manager XACT): commit, abort, assignment of subtransactions.
//!
//! access/xact.h. Main data of commit and abort: time 8, then the parts that xinfo names, in this order:
//!
//! | xinfo bit      | part                                                                     |
//! |----------------|--------------------------------------------------------------------------|
//! | (info 0x80)    | xinfo 4; without that info bit xinfo is 0                                |
//! | 0 DBINFO       | database 4, tablespace 4                                                 |
//! | 1 SUBXACTS     | count 4, xids 4 each                                                     |
//! | 2 RELFILENODES | count 4, files 12 each, to be dropped                                    |
//! | 8 DROPPED_STATS| count 4, entries of kind 4, database 4, object 4                         |
//! | 3 INVALS       | count 4, messages 16 each (commit only)                                  |
//! | 4 TWOPHASE     | xid 4                                                                    |
//! | 7 GID          | zero-terminated text                                                     |
//! | 5 ORIGIN       | position at the origin 8, time at the origin 8, unaligned                |
//! | 6 AE_LOCKS     | (no part) the transaction held locks that standbys must release          |
//! | 29, 30, 31     | (no part) apply feedback wanted; relcache file to be renewed; forced sync |
//! | (ours, last)   | up to where the writer knew the log to be durable 8; may be missing       |
//!
//! The last part is the engine's own. PostgreSQL's programs stop reading before it, and its own records end
//! before it.

use crate::codec::{Fields, PutFields, Short};
use crate::ids::{Lsn, RelFile, Xid};
use crate::record::{BuildError, EncodedRecord, Record, RecordBuilder, Rmgr, XLR_SPECIAL_REL_UPDATE};
use crate::smgr::{parse_rel, put_rel};
use crate::xlog::PayloadError;
use host::Timestamp;

/// xl_info of XLOG_XACT_COMMIT.
pub const COMMIT: u8 = 0x00;
/// xl_info of XLOG_XACT_PREPARE.
pub const PREPARE: u8 = 0x10;
/// xl_info of XLOG_XACT_ABORT.
pub const ABORT: u8 = 0x20;
/// xl_info of XLOG_XACT_COMMIT_PREPARED.
pub const COMMIT_PREPARED: u8 = 0x30;
/// xl_info of XLOG_XACT_ABORT_PREPARED.
pub const ABORT_PREPARED: u8 = 0x40;
/// xl_info of XLOG_XACT_ASSIGNMENT.
pub const ASSIGNMENT: u8 = 0x50;
/// xl_info of XLOG_XACT_INVALIDATIONS.
pub const INVALIDATIONS: u8 = 0x60;
/// The kind of record within xl_info.
pub const OPERATION_MASK: u8 = 0x70;
/// xl_info bit: an xinfo field is there.
pub const HAS_INFO: u8 = 0x80;

const HAS_DBINFO: u32 = 1 << 0;
const HAS_SUBXACTS: u32 = 1 << 1;
const HAS_RELFILENODES: u32 = 1 << 2;
const HAS_INVALS: u32 = 1 << 3;
const HAS_TWOPHASE: u32 = 1 << 4;
const HAS_ORIGIN: u32 = 1 << 5;
const HAS_AE_LOCKS: u32 = 1 << 6;
const HAS_GID: u32 = 1 << 7;
const HAS_DROPPED_STATS: u32 = 1 << 8;
const PARTS: u32 = HAS_DBINFO
    | HAS_SUBXACTS
    | HAS_RELFILENODES
    | HAS_INVALS
    | HAS_TWOPHASE
    | HAS_ORIGIN
    | HAS_GID
    | HAS_DROPPED_STATS;

/// Bytes of the part that states a proven flush point. It is ours, behind PostgreSQL's parts; so are the
/// epochs behind it, u32 each.
const PROVEN_FLUSH_SIZE: usize = 8;

/// What a transaction asks of those who redo its end: the bits of xinfo that announce no part of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion(u32);

impl Completion {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The transaction held locks that a standby took on its behalf (XACT_XINFO_HAS_AE_LOCKS).
    pub const RELEASE_LOCKS: Self = Self(HAS_AE_LOCKS);
    /// The client waits until standbys have applied it (XACT_COMPLETION_APPLY_FEEDBACK).
    pub const APPLY_FEEDBACK: Self = Self(1 << 29);
    /// The catalogue cache file is stale (XACT_COMPLETION_UPDATE_RELCACHE_FILE).
    pub const RELCACHE_FILE: Self = Self(1 << 30);
    /// The commit was synchronous whatever the setting (XACT_COMPLETION_FORCE_SYNC_COMMIT).
    pub const FORCE_SYNC: Self = Self(1 << 31);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A statistics entry that goes with a dropped object (xl_xact_stats_item).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsItem {
    /// Kind of statistics.
    pub kind: i32,
    /// Database OID.
    pub database: u32,
    /// Object OID.
    pub object: u32,
}

/// The transaction that a two-phase outcome belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoPhase {
    /// The prepared transaction's xid.
    pub xid_low: u32,
    /// Its name, in the bytes of the server's encoding.
    pub gid: Option<Vec<u8>>,
}

/// Where a transaction that came by replication was committed first (its origin's id stands in the record's
/// own origin field).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// End of its commit record at the origin.
    pub lsn: Lsn,
    /// Its commit time at the origin.
    pub time: Timestamp,
}

/// What a commit or abort record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XactEnd {
    /// Time of the commit or abort.
    pub time: Timestamp,
    /// What redo must do besides.
    pub completion: Completion,
    /// The session's database and that database's tablespace.
    pub database: Option<(u32, u32)>,
    /// Subtransactions that share the outcome.
    pub subxacts: Vec<u32>,
    /// Relation files that go.
    pub dropped: Vec<RelFile>,
    /// Statistics that go.
    pub dropped_stats: Vec<StatsItem>,
    /// Cache invalidation messages of PostgreSQL, unparsed.
    pub invalidations: Vec<[u8; 16]>,
    /// The prepared transaction, in COMMIT PREPARED and ROLLBACK PREPARED.
    pub two_phase: Option<TwoPhase>,
    /// Where it was committed first.
    pub origin: Option<Origin>,
    /// Up to here (exclusive) the writer knew the log to be durable when it wrote this: a bad record below is
    /// damage, not a torn tail.
    pub proven_flush: Option<Lsn>,
    /// High halves of the record's own xid and then of each of `subxacts`, where one of them may be far from
    /// the next xid; else empty.
    pub epochs: Vec<u32>,
}

/// A parsed record of resource manager XACT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XactRecord {
    /// A transaction took effect (two_phase is Some for COMMIT PREPARED).
    Commit(XactEnd),
    /// A transaction came to nothing (two_phase is Some for ROLLBACK PREPARED).
    Abort(XactEnd),
    /// A transaction was prepared; its state is left unparsed.
    Prepare,
    /// Subtransactions were tied to their top-level transaction.
    Assignment {
        /// The top-level transaction.
        top: u32,
        /// Its subtransactions.
        subxacts: Vec<u32>,
    },
    /// Cache invalidations of a running transaction.
    Invalidations(Vec<[u8; 16]>),
}

/// Reads a count and that many items of `size` bytes, never believing a count that the record cannot hold.
fn parse_list<'a, T>(
    fields: &mut Fields<'a>,
    size: usize,
    mut item: impl FnMut(&mut Fields<'a>) -> Result<T, Short>,
) -> Result<Vec<T>, Short> {
    let count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let mut body = Fields::new(fields.take(count.saturating_mul(size))?);
    (0..count).map(|_| item(&mut body)).collect()
}

pub(crate) fn parse_invalidations(fields: &mut Fields<'_>) -> Result<Vec<[u8; 16]>, Short> {
    parse_list(fields, 16, Fields::array)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // Lists are bounded by the record limit, far below 2^32.
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

impl XactEnd {
    fn parse(fields: &mut Fields<'_>, info: u8) -> Result<Self, Short> {
        let time = Timestamp::from_micros(fields.i64()?);
        let xinfo = if info & HAS_INFO != 0 { fields.u32()? } else { 0 };
        let mut end = Self { time, completion: Completion(xinfo & !PARTS), ..Self::default() };
        let has = |bit| xinfo & bit != 0;
        if has(HAS_DBINFO) {
            end.database = Some((fields.u32()?, fields.u32()?));
        }
        if has(HAS_SUBXACTS) {
            end.subxacts = parse_list(fields, 4, Fields::u32)?;
        }
        if has(HAS_RELFILENODES) {
            end.dropped = parse_list(fields, 12, parse_rel)?;
        }
        if has(HAS_DROPPED_STATS) {
            end.dropped_stats = parse_list(fields, 12, |item| {
                Ok(StatsItem { kind: item.i32()?, database: item.u32()?, object: item.u32()? })
            })?;
        }
        if has(HAS_INVALS) {
            end.invalidations = parse_invalidations(fields)?;
        }
        if has(HAS_TWOPHASE) {
            let xid_low = fields.u32()?;
            let gid = if has(HAS_GID) { Some(parse_c_string(fields)?) } else { None };
            end.two_phase = Some(TwoPhase { xid_low, gid });
        }
        if has(HAS_ORIGIN) {
            end.origin =
                Some(Origin { lsn: Lsn::new(fields.u64()?), time: Timestamp::from_micros(fields.i64()?) });
        }
        let with_epochs = PROVEN_FLUSH_SIZE + 4 * (1 + end.subxacts.len());
        if fields.left() == PROVEN_FLUSH_SIZE || fields.left() == with_epochs {
            end.proven_flush = Some(Lsn::new(fields.u64()?)).filter(|flushed| flushed.is_valid());
            end.epochs = (0..fields.left() / 4).map(|_| fields.u32()).collect::<Result<_, _>>()?;
        }
        Ok(end)
    }

    /// The full xid of the record that says this; without epochs the nearest to `near`, the next xid as the
    /// log before it has it.
    pub fn xid(&self, record: &Record, near: Xid) -> Xid {
        widened(record.xid_low(), self.epochs.first(), near)
    }

    /// The full xids of the subtransactions, told or guessed in the same way.
    pub fn parts(&self, near: Xid) -> Vec<Xid> {
        let epochs = self.epochs.iter().skip(1).map(Some).chain(std::iter::repeat(None));
        self.subxacts.iter().zip(epochs).map(|(low, epoch)| widened(*low, epoch, near)).collect()
    }

    /// xinfo: the parts that are there and the completion bits.
    fn xinfo(&self) -> u32 {
        let gid = self.two_phase.as_ref().is_some_and(|two_phase| two_phase.gid.is_some());
        let parts = [
            (self.database.is_some(), HAS_DBINFO),
            (!self.subxacts.is_empty(), HAS_SUBXACTS),
            (!self.dropped.is_empty(), HAS_RELFILENODES),
            (!self.dropped_stats.is_empty(), HAS_DROPPED_STATS),
            (!self.invalidations.is_empty(), HAS_INVALS),
            (self.two_phase.is_some(), HAS_TWOPHASE),
            (gid, HAS_GID),
            (self.origin.is_some(), HAS_ORIGIN),
        ];
        parts.iter().filter(|(there, _)| *there).fold(self.completion.0, |bits, (_, bit)| bits | bit)
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_i64(self.time.micros());
        let xinfo = self.xinfo();
        if xinfo != 0 {
            out.put_u32(xinfo);
        }
        if let Some((database, tablespace)) = self.database {
            out.put_u32(database);
            out.put_u32(tablespace);
        }
        if !self.subxacts.is_empty() {
            put_count(out, self.subxacts.len());
            self.subxacts.iter().for_each(|xid| out.put_u32(*xid));
        }
        if !self.dropped.is_empty() {
            put_count(out, self.dropped.len());
            self.dropped.iter().for_each(|rel| put_rel(out, *rel));
        }
        if !self.dropped_stats.is_empty() {
            put_count(out, self.dropped_stats.len());
            for item in &self.dropped_stats {
                out.put_i32(item.kind);
                out.put_u32(item.database);
                out.put_u32(item.object);
            }
        }
        if !self.invalidations.is_empty() {
            put_count(out, self.invalidations.len());
            self.invalidations.iter().for_each(|message| out.put(message));
        }
        if let Some(two_phase) = &self.two_phase {
            out.put_u32(two_phase.xid_low);
            if let Some(gid) = &two_phase.gid {
                out.put(gid);
                out.put_u8(0);
            }
        }
        if let Some(origin) = self.origin {
            out.put_u64(origin.lsn.get());
            out.put_i64(origin.time.micros());
        }
        if self.proven_flush.is_some() || !self.epochs.is_empty() {
            out.put_u64(self.proven_flush.unwrap_or(Lsn::INVALID).get());
        }
        self.epochs.iter().for_each(|epoch| out.put_u32(*epoch));
    }
}

fn widened(low: u32, epoch: Option<&u32>, near: Xid) -> Xid {
    epoch.map_or_else(|| Xid::from_low(low, near), |epoch| Xid::from_halves(*epoch, low))
}

/// Reads up to and over the next zero byte.
fn parse_c_string(fields: &mut Fields<'_>) -> Result<Vec<u8>, Short> {
    let mut text = Vec::new();
    loop {
        match fields.u8()? {
            0 => return Ok(text),
            byte => text.push(byte),
        }
    }
}

/// The time of a commit, without taking the rest of its record apart; None for any other record.
pub fn commit_time(record: &Record) -> Option<Timestamp> {
    let commits =
        record.rmgr() == Rmgr::XACT && matches!(record.info() & OPERATION_MASK, COMMIT | COMMIT_PREPARED);
    let time = record.main_data().first_chunk::<8>().filter(|_| commits)?;
    Some(Timestamp::from_micros(i64::from_le_bytes(*time)))
}

impl XactRecord {
    /// Takes apart a record of resource manager XACT.
    ///
    /// # Errors
    /// Fails if the record is none of these, or too short.
    pub fn parse(record: &Record) -> Result<Self, PayloadError> {
        let (rmgr, info) = (record.rmgr(), record.info());
        let short = PayloadError::short(record);
        let mut fields = Fields::new(record.main_data());
        let parsed = match (rmgr, info & OPERATION_MASK) {
            (Rmgr::XACT, COMMIT | COMMIT_PREPARED) => {
                Self::Commit(XactEnd::parse(&mut fields, info).map_err(short)?)
            }
            (Rmgr::XACT, ABORT | ABORT_PREPARED) => {
                Self::Abort(XactEnd::parse(&mut fields, info).map_err(short)?)
            }
            (Rmgr::XACT, PREPARE) => {
                fields.rest();
                Self::Prepare
            }
            (Rmgr::XACT, ASSIGNMENT) => Self::Assignment {
                top: fields.u32().map_err(short)?,
                subxacts: parse_list(&mut fields, 4, Fields::u32).map_err(short)?,
            },
            (Rmgr::XACT, INVALIDATIONS) => {
                Self::Invalidations(parse_invalidations(&mut fields).map_err(short)?)
            }
            _ => return Err(PayloadError::Unknown { rmgr, info }),
        };
        match fields.left() {
            0 => Ok(parsed),
            left => Err(PayloadError::Surplus { rmgr, info, left }),
        }
    }

    /// xl_info: the kind, [`HAS_INFO`], and XLR_SPECIAL_REL_UPDATE where files are dropped.
    pub fn info(&self) -> u8 {
        let (operation, end) = match self {
            Self::Commit(end) if end.two_phase.is_some() => (COMMIT_PREPARED, Some(end)),
            Self::Commit(end) => (COMMIT, Some(end)),
            Self::Abort(end) if end.two_phase.is_some() => (ABORT_PREPARED, Some(end)),
            Self::Abort(end) => (ABORT, Some(end)),
            Self::Prepare => (PREPARE, None),
            Self::Assignment { .. } => (ASSIGNMENT, None),
            Self::Invalidations(_) => (INVALIDATIONS, None),
        };
        let has_info = if end.is_some_and(|end| end.xinfo() != 0) { HAS_INFO } else { 0 };
        let special = if end.is_some_and(|end| !end.dropped.is_empty()) { XLR_SPECIAL_REL_UPDATE } else { 0 };
        operation | has_info | special
    }

    /// The main data (empty for [`XactRecord::Prepare`], which the engine does not write).
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        match self {
            Self::Commit(end) | Self::Abort(end) => end.put(&mut out),
            Self::Prepare => {}
            Self::Assignment { top, subxacts } => {
                out.put_u32(*top);
                put_count(&mut out, subxacts.len());
                subxacts.iter().for_each(|xid| out.put_u32(*xid));
            }
            Self::Invalidations(messages) => {
                put_count(&mut out, messages.len());
                messages.iter().for_each(|message| out.put(message));
            }
        }
        out
    }

    /// The record of transaction `xid_low`; `origin` is the replication origin's id, 0 for none.
    ///
    /// # Errors
    /// Fails if the record would be too long.
    pub fn encode(&self, xid_low: u32, origin: u16) -> Result<EncodedRecord, BuildError> {
        RecordBuilder::new(Rmgr::XACT, self.info(), xid_low)
            .main_data(&self.payload())
            .origin(origin)
            .encode()
    }
}

/// Up to where the log was durable, as a commit or abort record states it. None for any other record.
pub(crate) fn proven_flush(record: &Record) -> Option<Lsn> {
    match XactRecord::parse(record) {
        Ok(XactRecord::Commit(end) | XactRecord::Abort(end)) if record.rmgr() == Rmgr::XACT => {
            // Nobody knows more of the log than what lies before the record itself.
            end.proven_flush.filter(|flushed| *flushed <= record.start())
        }
        _ => None,
    }
}

/// Name and time of a PREPARE record (xl_xact_prepare: prepared_at at offset 16, gidlen at 54, the name at
/// 72).
pub(crate) fn prepared(record: &Record) -> Result<(String, Timestamp), Short> {
    let mut fields = Fields::new(record.main_data());
    fields.skip(16)?;
    let time = Timestamp::from_micros(fields.i64()?);
    fields.skip(54 - 24)?;
    let length = usize::from(fields.u16()?);
    fields.skip(72 - 56)?;
    let name = fields.take(length)?;
    let name = name.split_last().map_or(name, |(_, text)| text);
    Ok((String::from_utf8_lossy(name).into_owned(), time))
}
