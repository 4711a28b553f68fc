//! The write-ahead log: positions, timelines, segments, pages, records, reader, writer, control file.
//!
//! Byte layouts are PostgreSQL 15's; each module's header names the C header that it follows.

pub mod error;
pub mod ids;
pub mod positions;
pub mod watermark;

pub use error::{WalError, WalOperation};
pub use ids::{
    BlockNumber, Fork, Lsn, ParseIdError, RelFile, SegmentNumber, SegmentSize, SystemId, TimelineId, Xid,
};
pub use positions::{Positions, StandbyPositions};
pub use watermark::{Stopped, Watermark};
