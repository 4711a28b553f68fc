//! Records of the log itself (resource manager XLOG): what their main data holds.
//!
//! catalog/pg_control.h and access/xlog_internal.h. Offsets are those that a C compiler gives on x86-64 and
//! aarch64:
//!
//! | xl_info | record               | main data                                           |
//! | -------- | --------------------- | ---------------------------------------------------- |
//! | 0x00    | CHECKPOINT_SHUTDOWN  | [`CheckPoint`], 88 bytes                            |
//! | 0x10    | CHECKPOINT_ONLINE    | [`CheckPoint`], 88 bytes                            |
//! | 0x20    | NOOP                 | nothing that matters                                |
//! | 0x30    | NEXTOID              | OID 4                                               |
//! | 0x40    | SWITCH               | nothing; the rest of the segment stays empty        |
//! | 0x50    | BACKUP_END           | the backup's start position 8                       |
//! | 0x60    | PARAMETER_CHANGE     | [`ParameterChange`], 28 bytes                       |
//! | 0x70    | RESTORE_POINT        | time 8, name 64 (zero-terminated)                   |
//! | 0x80    | FPW_CHANGE           | full_page_writes 1                                  |
//! | 0x90    | END_OF_RECOVERY      | time 8, this timeline 4, previous timeline 4        |
//! | 0xA0    | FPI_FOR_HINT         | nothing; images in the block references             |
//! | 0xB0    | FPI                  | nothing; images in the block references             |
//! | 0xD0    | OVERWRITE_CONTRECORD | start of the record whose rest is missing 8, time 8 |

use crate::codec::{Fields, PutFields, Short};
use crate::ids::{Lsn, TimelineId, Xid};
use crate::record::{
    BuildError, EncodedRecord, RECORD_HEADER_SIZE, Record, RecordBuilder, Rmgr, XLR_RMGR_INFO_MASK,
};
use host::Timestamp;

/// The length of a checkpoint's record, without page headers: a header, a short data header, [`CheckPoint`].
pub const CHECKPOINT_RECORD_SIZE: u32 = RECORD_HEADER_SIZE as u32 + 2 + 88;
/// xl_info of XLOG_CHECKPOINT_SHUTDOWN.
pub const CHECKPOINT_SHUTDOWN: u8 = 0x00;
/// xl_info of XLOG_CHECKPOINT_ONLINE.
pub const CHECKPOINT_ONLINE: u8 = 0x10;
/// xl_info of XLOG_NOOP.
pub const NOOP: u8 = 0x20;
/// xl_info of XLOG_NEXTOID.
pub const NEXTOID: u8 = 0x30;
/// xl_info of XLOG_SWITCH.
pub const SWITCH: u8 = 0x40;
/// xl_info of XLOG_BACKUP_END.
pub const BACKUP_END: u8 = 0x50;
/// xl_info of XLOG_PARAMETER_CHANGE.
pub const PARAMETER_CHANGE: u8 = 0x60;
/// xl_info of XLOG_RESTORE_POINT.
pub const RESTORE_POINT: u8 = 0x70;
/// xl_info of XLOG_FPW_CHANGE.
pub const FPW_CHANGE: u8 = 0x80;
/// xl_info of XLOG_END_OF_RECOVERY.
pub const END_OF_RECOVERY: u8 = 0x90;
/// xl_info of XLOG_FPI_FOR_HINT.
pub const FPI_FOR_HINT: u8 = 0xA0;
/// xl_info of XLOG_FPI.
pub const FPI: u8 = 0xB0;
/// xl_info of XLOG_OVERWRITE_CONTRECORD.
pub const OVERWRITE_CONTRECORD: u8 = 0xD0;

/// Main data that is not what its record's resource manager and info bits promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It ends too early.
    #[error("{rmgr} record with info {info:02X}: {short}")]
    Short {
        /// The resource manager.
        rmgr: Rmgr,
        /// xl_info.
        info: u8,
        /// Where.
        short: Short,
    },
    /// Bytes are left over.
    #[error("{rmgr} record with info {info:02X} has {left} bytes too many")]
    Surplus {
        /// The resource manager.
        rmgr: Rmgr,
        /// xl_info.
        info: u8,
        /// Bytes left over.
        left: usize,
    },
    /// A value that the format does not allow.
    #[error("{rmgr} record with info {info:02X}: invalid {field} {found}")]
    Value {
        /// The resource manager.
        rmgr: Rmgr,
        /// xl_info.
        info: u8,
        /// The field's name in PostgreSQL.
        field: &'static str,
        /// What stands there.
        found: i64,
    },
    /// No record of this resource manager has these info bits.
    #[error("{rmgr} record with unknown info {info:02X}")]
    Unknown {
        /// The resource manager.
        rmgr: Rmgr,
        /// xl_info.
        info: u8,
    },
}

impl PayloadError {
    /// Puts a record's name to a field that was cut short.
    pub fn short(record: &Record) -> impl Fn(Short) -> Self + Copy + use<> {
        let (rmgr, info) = (record.rmgr(), record.info());
        move |short| Self::Short { rmgr, info, short }
    }
}

/// Body of a checkpoint record, and its copy in the control file (struct CheckPoint).
///
/// | offset | field | offset | field | offset | field | offset | field |
/// | ---: | ---- | ---: | ---- | ---: | ---- | ---: | ---- |
/// | 0 | redo | 24 | nextXid | 44 | oldestXid | 64 | time |
/// | 8 | ThisTimeLineID | 32 | nextOid | 48 | oldestXidDB | 72 | oldestCommitTsXid |
/// | 12 | PrevTimeLineID | 36 | nextMulti | 52 | oldestMulti | 76 | newestCommitTsXid |
/// | 16 | fullPageWrites | 40 | nextMultiOffset | 56 | oldestMultiDB | 80 | oldestActiveXid |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPoint {
    /// Where redo starts.
    pub redo: Lsn,
    /// The timeline of the record.
    pub timeline: TimelineId,
    /// The timeline before, if the record begins a timeline; else the same.
    pub previous_timeline: TimelineId,
    /// The full_page_writes setting.
    pub full_page_writes: bool,
    /// The next transaction id.
    pub next_xid: Xid,
    /// The next OID.
    pub next_oid: u32,
    /// nextMulti (1 in an engine without multixacts).
    pub next_multi: u32,
    /// nextMultiOffset.
    pub next_multi_offset: u32,
    /// oldestXid.
    pub oldest_xid: u32,
    /// oldestXidDB.
    pub oldest_xid_db: u32,
    /// oldestMulti.
    pub oldest_multi: u32,
    /// oldestMultiDB.
    pub oldest_multi_db: u32,
    /// Seconds since 1970-01-01 UTC.
    pub time: i64,
    /// oldestCommitTsXid.
    pub oldest_commit_ts_xid: u32,
    /// newestCommitTsXid.
    pub newest_commit_ts_xid: u32,
    /// Oldest transaction still running, 0 in a shutdown checkpoint.
    pub oldest_active_xid: u32,
}

impl CheckPoint {
    /// sizeof(CheckPoint).
    pub const SIZE: usize = 88;

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(self.redo.get());
        out.put_u32(self.timeline.get());
        out.put_u32(self.previous_timeline.get());
        out.put_u8(self.full_page_writes.into());
        out.put_zeros(7);
        out.put_u64(self.next_xid.get());
        for word in [
            self.next_oid,
            self.next_multi,
            self.next_multi_offset,
            self.oldest_xid,
            self.oldest_xid_db,
            self.oldest_multi,
            self.oldest_multi_db,
        ] {
            out.put_u32(word);
        }
        out.put_zeros(4);
        out.put_i64(self.time);
        out.put_u32(self.oldest_commit_ts_xid);
        out.put_u32(self.newest_commit_ts_xid);
        out.put_u32(self.oldest_active_xid);
        out.put_zeros(4);
    }

    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, Short> {
        let redo = Lsn::new(fields.u64()?);
        let timeline = TimelineId::new(fields.u32()?);
        let previous_timeline = TimelineId::new(fields.u32()?);
        let full_page_writes = fields.bool()?;
        fields.skip(7)?;
        let next_xid = Xid::new(fields.u64()?);
        let (next_oid, next_multi, next_multi_offset) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (oldest_xid, oldest_xid_db) = (fields.u32()?, fields.u32()?);
        let (oldest_multi, oldest_multi_db) = (fields.u32()?, fields.u32()?);
        fields.skip(4)?;
        let time = fields.i64()?;
        let (oldest_commit_ts_xid, newest_commit_ts_xid) = (fields.u32()?, fields.u32()?);
        let oldest_active_xid = fields.u32()?;
        fields.skip(4)?;
        Ok(Self {
            redo,
            timeline,
            previous_timeline,
            full_page_writes,
            next_xid,
            next_oid,
            next_multi,
            next_multi_offset,
            oldest_xid,
            oldest_xid_db,
            oldest_multi,
            oldest_multi_db,
            time,
            oldest_commit_ts_xid,
            newest_commit_ts_xid,
            oldest_active_xid,
        })
    }
}

/// wal_level as the control file and the log number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WalLevel {
    /// Enough for a crash.
    Minimal,
    /// Enough for standbys.
    Replica,
    /// Enough for logical decoding.
    Logical,
}

impl WalLevel {
    /// The number.
    pub const fn number(self) -> i32 {
        match self {
            Self::Minimal => 0,
            Self::Replica => 1,
            Self::Logical => 2,
        }
    }
    /// From the number.
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Minimal),
            1 => Some(Self::Replica),
            2 => Some(Self::Logical),
            _ => None,
        }
    }
    /// The setting's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Replica => "replica",
            Self::Logical => "logical",
        }
    }
}

/// The settings that a standby must know of its primary (xl_parameter_change; the same fields stand in the
/// control file).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterChange {
    /// max_connections.
    pub max_connections: i32,
    /// max_worker_processes.
    pub max_worker_processes: i32,
    /// max_wal_senders.
    pub max_wal_senders: i32,
    /// max_prepared_transactions.
    pub max_prepared_xacts: i32,
    /// max_locks_per_transaction.
    pub max_locks_per_xact: i32,
    /// wal_level.
    pub wal_level: WalLevel,
    /// wal_log_hints.
    pub wal_log_hints: bool,
    /// track_commit_timestamp.
    pub track_commit_timestamp: bool,
}

/// A parsed record of resource manager XLOG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XlogRecord {
    /// A checkpoint with nothing running: at shutdown or at the end of recovery.
    CheckpointShutdown(CheckPoint),
    /// A checkpoint of a running server.
    CheckpointOnline(CheckPoint),
    /// Nothing.
    Noop,
    /// OIDs up to this one may have been given out.
    NextOid(u32),
    /// The segment ends here.
    Switch,
    /// A base backup that started at this position is complete.
    BackupEnd {
        /// Redo position of the backup's first checkpoint.
        start: Lsn,
    },
    /// Settings that standbys must know changed.
    ParameterChange(ParameterChange),
    /// A named point to recover to.
    RestorePoint {
        /// When.
        time: Timestamp,
        /// At most 63 bytes.
        name: String,
    },
    /// full_page_writes was switched.
    FpwChange(bool),
    /// A timeline begins without a checkpoint.
    EndOfRecovery {
        /// When.
        time: Timestamp,
        /// The new timeline.
        timeline: TimelineId,
        /// The one it forked off from.
        previous_timeline: TimelineId,
    },
    /// Page images because of a hint bit.
    FpiForHint,
    /// Page images.
    Fpi,
    /// The rest of the record that started at `overwritten` never came; the log goes on here.
    OverwriteContrecord {
        /// Start of the incomplete record.
        overwritten: Lsn,
        /// When.
        time: Timestamp,
    },
}

/// Bytes of a restore point's name with its terminator (MAXFNAMELEN).
const RESTORE_POINT_NAME_SIZE: usize = 64;

impl XlogRecord {
    /// Takes apart a record of resource manager XLOG. Surplus bytes are an error where the format fixes the
    /// length.
    ///
    /// # Errors
    /// Fails if the record is none of these, or too short.
    pub fn parse(record: &Record) -> Result<Self, PayloadError> {
        let (rmgr, info) = (record.rmgr(), record.info());
        let unknown = PayloadError::Unknown { rmgr, info };
        if rmgr != Rmgr::XLOG {
            return Err(unknown);
        }
        let mut fields = Fields::new(record.main_data());
        let short = PayloadError::short(record);
        let value = |field, found| PayloadError::Value { rmgr, info, field, found };
        let parsed = match info & XLR_RMGR_INFO_MASK {
            CHECKPOINT_SHUTDOWN => Self::CheckpointShutdown(CheckPoint::parse(&mut fields).map_err(short)?),
            CHECKPOINT_ONLINE => Self::CheckpointOnline(CheckPoint::parse(&mut fields).map_err(short)?),
            NOOP => {
                fields.rest();
                Self::Noop
            }
            NEXTOID => Self::NextOid(fields.u32().map_err(short)?),
            SWITCH => Self::Switch,
            BACKUP_END => Self::BackupEnd { start: Lsn::new(fields.u64().map_err(short)?) },
            PARAMETER_CHANGE => {
                let mut number = || fields.i32().map_err(short);
                let (max_connections, max_worker_processes) = (number()?, number()?);
                let (max_wal_senders, max_prepared_xacts) = (number()?, number()?);
                let (max_locks_per_xact, level) = (number()?, number()?);
                let wal_level =
                    WalLevel::from_number(level).ok_or_else(|| value("wal_level", level.into()))?;
                let wal_log_hints = fields.bool().map_err(short)?;
                let track_commit_timestamp = fields.bool().map_err(short)?;
                fields.skip(2).map_err(short)?;
                Self::ParameterChange(ParameterChange {
                    max_connections,
                    max_worker_processes,
                    max_wal_senders,
                    max_prepared_xacts,
                    max_locks_per_xact,
                    wal_level,
                    wal_log_hints,
                    track_commit_timestamp,
                })
            }
            RESTORE_POINT => {
                let time = Timestamp::from_micros(fields.i64().map_err(short)?);
                let name = fields.take(RESTORE_POINT_NAME_SIZE).map_err(short)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                Self::RestorePoint { time, name: String::from_utf8_lossy(name).into_owned() }
            }
            FPW_CHANGE => Self::FpwChange(fields.bool().map_err(short)?),
            END_OF_RECOVERY => Self::EndOfRecovery {
                time: Timestamp::from_micros(fields.i64().map_err(short)?),
                timeline: TimelineId::new(fields.u32().map_err(short)?),
                previous_timeline: TimelineId::new(fields.u32().map_err(short)?),
            },
            FPI_FOR_HINT => Self::FpiForHint,
            FPI => Self::Fpi,
            OVERWRITE_CONTRECORD => Self::OverwriteContrecord {
                overwritten: Lsn::new(fields.u64().map_err(short)?),
                time: Timestamp::from_micros(fields.i64().map_err(short)?),
            },
            _ => return Err(unknown),
        };
        match fields.left() {
            0 => Ok(parsed),
            left => Err(PayloadError::Surplus { rmgr, info, left }),
        }
    }

    /// xl_info of the record.
    pub const fn info(&self) -> u8 {
        match self {
            Self::CheckpointShutdown(_) => CHECKPOINT_SHUTDOWN,
            Self::CheckpointOnline(_) => CHECKPOINT_ONLINE,
            Self::Noop => NOOP,
            Self::NextOid(_) => NEXTOID,
            Self::Switch => SWITCH,
            Self::BackupEnd { .. } => BACKUP_END,
            Self::ParameterChange(_) => PARAMETER_CHANGE,
            Self::RestorePoint { .. } => RESTORE_POINT,
            Self::FpwChange(_) => FPW_CHANGE,
            Self::EndOfRecovery { .. } => END_OF_RECOVERY,
            Self::FpiForHint => FPI_FOR_HINT,
            Self::Fpi => FPI,
            Self::OverwriteContrecord { .. } => OVERWRITE_CONTRECORD,
        }
    }

    /// The main data.
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::CheckpointShutdown(checkpoint) | Self::CheckpointOnline(checkpoint) => {
                checkpoint.put(&mut out);
            }
            Self::Noop | Self::Switch | Self::FpiForHint | Self::Fpi => {}
            Self::NextOid(oid) => out.put_u32(*oid),
            Self::BackupEnd { start } => out.put_u64(start.get()),
            Self::ParameterChange(change) => {
                for number in [
                    change.max_connections,
                    change.max_worker_processes,
                    change.max_wal_senders,
                    change.max_prepared_xacts,
                    change.max_locks_per_xact,
                    change.wal_level.number(),
                ] {
                    out.put_i32(number);
                }
                out.put_u8(change.wal_log_hints.into());
                out.put_u8(change.track_commit_timestamp.into());
                out.put_zeros(2);
            }
            Self::RestorePoint { time, name } => {
                out.put_i64(time.micros());
                let mut cut = name.len().min(RESTORE_POINT_NAME_SIZE - 1);
                while !name.is_char_boundary(cut) {
                    cut -= 1;
                }
                out.put(name.get(..cut).unwrap_or_default().as_bytes());
                out.put_zeros(RESTORE_POINT_NAME_SIZE - cut);
            }
            Self::FpwChange(on) => out.put_u8((*on).into()),
            Self::EndOfRecovery { time, timeline, previous_timeline } => {
                out.put_i64(time.micros());
                out.put_u32(timeline.get());
                out.put_u32(previous_timeline.get());
            }
            Self::OverwriteContrecord { overwritten, time } => {
                out.put_u64(overwritten.get());
                out.put_i64(time.micros());
            }
        }
        out
    }

    /// The record, without a transaction and without block references (page images are built with
    /// [`RecordBuilder`]).
    ///
    /// # Errors
    /// Fails if the record would be too long.
    pub fn encode(&self) -> Result<EncodedRecord, BuildError> {
        RecordBuilder::new(Rmgr::XLOG, self.info(), 0).main_data(&self.payload()).encode()
    }
}
