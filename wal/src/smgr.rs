//! Records of relation files (resource manager SMGR): creation and truncation. Files are dropped by commit
//! and abort records.
//!
//! catalog/storage_xlog.h:
//!
//! | xl_info | record   | main data                                                       |
//! |---------|----------|-----------------------------------------------------------------|
//! | 0x10    | CREATE   | tablespace 4, database 4, relation 4, fork 4                    |
//! | 0x20    | TRUNCATE | new length in blocks 4, tablespace 4, database 4, relation 4, flags 4 |

use crate::codec::{Fields, PutFields, Short};
use crate::ids::{BlockNumber, Fork, RelFile};
use crate::record::{BuildError, EncodedRecord, Record, RecordBuilder, Rmgr, XLR_SPECIAL_REL_UPDATE};
use crate::xlog::PayloadError;

/// xl_info of XLOG_SMGR_CREATE.
pub const CREATE: u8 = 0x10;
/// xl_info of XLOG_SMGR_TRUNCATE.
pub const TRUNCATE: u8 = 0x20;
/// SMGR_TRUNCATE_HEAP: the main fork is cut.
pub const TRUNCATE_MAIN: u32 = 0x0001;

/// A parsed record of resource manager SMGR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmgrRecord {
    /// A fork's first file comes to be, empty.
    Create {
        /// The relation's files.
        rel: RelFile,
        /// The fork.
        fork: Fork,
    },
    /// A relation is cut to a length.
    Truncate {
        /// The relation's files.
        rel: RelFile,
        /// The new length: the first block that goes.
        length: BlockNumber,
        /// SMGR_TRUNCATE_ flags.
        flags: u32,
    },
}

pub(crate) fn parse_rel(fields: &mut Fields<'_>) -> Result<RelFile, Short> {
    Ok(RelFile { tablespace: fields.u32()?, database: fields.u32()?, relation: fields.u32()? })
}

pub(crate) fn put_rel(out: &mut Vec<u8>, rel: RelFile) {
    out.put_u32(rel.tablespace);
    out.put_u32(rel.database);
    out.put_u32(rel.relation);
}

impl SmgrRecord {
    /// Takes apart a record of resource manager SMGR.
    ///
    /// # Errors
    /// Fails if the record is none of these, or too short.
    pub fn parse(record: &Record) -> Result<Self, PayloadError> {
        let (rmgr, info) = (record.rmgr(), record.info());
        let short = PayloadError::short(record);
        let mut fields = Fields::new(record.main_data());
        let parsed = match (rmgr, record.rmgr_info()) {
            (Rmgr::SMGR, CREATE) => {
                let rel = parse_rel(&mut fields).map_err(short)?;
                let number = fields.i32().map_err(short)?;
                let fork = u8::try_from(number)
                    .ok()
                    .and_then(Fork::from_number)
                    .ok_or(PayloadError::Value { rmgr, info, field: "forkNum", found: number.into() })?;
                Self::Create { rel, fork }
            }
            (Rmgr::SMGR, TRUNCATE) => {
                let length = BlockNumber::new(fields.u32().map_err(short)?);
                let rel = parse_rel(&mut fields).map_err(short)?;
                Self::Truncate { rel, length, flags: fields.u32().map_err(short)? }
            }
            _ => return Err(PayloadError::Unknown { rmgr, info }),
        };
        match fields.left() {
            0 => Ok(parsed),
            left => Err(PayloadError::Surplus { rmgr, info, left }),
        }
    }

    /// xl_info with XLR_SPECIAL_REL_UPDATE, as PostgreSQL sets it.
    pub const fn info(&self) -> u8 {
        XLR_SPECIAL_REL_UPDATE
            | match self {
                Self::Create { .. } => CREATE,
                Self::Truncate { .. } => TRUNCATE,
            }
    }

    /// The main data.
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        match *self {
            Self::Create { rel, fork } => {
                put_rel(&mut out, rel);
                out.put_u32(fork.number().into());
            }
            Self::Truncate { rel, length, flags } => {
                out.put_u32(length.get());
                put_rel(&mut out, rel);
                out.put_u32(flags);
            }
        }
        out
    }

    /// The record, written under a transaction or none (0).
    ///
    /// # Errors
    /// Fails if the record would be too long.
    pub fn encode(&self, xid_low: u32) -> Result<EncodedRecord, BuildError> {
        RecordBuilder::new(Rmgr::SMGR, self.info(), xid_low).main_data(&self.payload()).encode()
    }
}
