//! The write-ahead log: positions, timelines, segments, pages, records, reader, writer, control file.
//!
//! Byte layouts are PostgreSQL 15's; each module's header names the C header that it follows.

pub mod codec;
pub mod control;
pub mod crc;
pub mod error;
pub mod history;
pub mod ids;
pub mod page;
pub mod positions;
pub mod record;
pub mod smgr;
pub mod watermark;
pub mod xact;
pub mod xlog;

pub use error::{WalError, WalOperation};
pub use ids::{
    BlockNumber, Fork, Lsn, ParseIdError, RelFile, SegmentNumber, SegmentSize, SystemId, TimelineId, Xid,
};
pub use page::{PageFlags, PageHeader};
pub use positions::{Positions, StandbyPositions};
pub use record::{Block, BlockRef, EncodedRecord, PageImage, Record, RecordBuilder, Rmgr};
pub use watermark::{Stopped, Watermark};
