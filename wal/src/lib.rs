//! The write-ahead log: positions, timelines, segments, pages, records, reader, writer, control file.
//!
//! Byte layouts are PostgreSQL 15's; each module's header names the C header that it follows.
//!
//! Durability: what [`WalWriter::flush`] has returned, and nothing else, survives a power cut. A failed write
//! or fsync ends the writer. A timeline that begins in the middle of a segment may share that file with its
//! parent for a moment (`fork.rs`); whoever opens a data directory settles that first
//! ([`log_branch::settle_promotion`]). This crate knows no tables and no sockets.

mod archive_histories;
pub mod archive_status;
pub mod backup_label;
pub mod codec;
pub mod control;
pub mod crc;
pub mod describe;
pub mod error;
pub mod file_names;
mod flush_mark;
mod fork;
pub mod format;
mod generations;
pub mod history;
pub mod ids;
mod kept;
pub mod log_branch;
mod log_file;
pub mod message;
mod node_log;
pub mod page;
mod position_file;
pub mod positions;
pub mod raw_writer;
pub mod reader;
pub mod record;
pub mod segments;
pub mod smgr;
mod space;
pub mod timelines;
pub mod watermark;
pub mod writer;
pub mod xact;
pub mod xlog;

pub use archive_histories::ArchiveHistories;
pub use archive_status::{ArchiveStatus, Archived};
pub use error::{WalError, WalOperation};
pub use flush_mark::{FLUSHED_FILE, forget_own_flush, own_flush};
pub use fork::ForkSegment;
pub use generations::Generations;
pub use ids::{
    BlockNumber, Fork, Lsn, ParseIdError, RelFile, SegmentNumber, SegmentSize, SystemId, TimelineId, Xid,
};
pub use kept::{KEPT_DIR, KeptLog};
pub use log_branch::{BranchError, BranchRecord, LogBranch};
pub use node_log::{BranchObserver, Live, LogState, NodeLog, Replaced, Stopping};
pub use page::{PageFlags, PageHeader};
pub use position_file::{LogPosition, PositionFile};
pub use positions::{Positions, StandbyPositions};
pub use raw_writer::{RawConfig, RawWriter};
pub use reader::{
    EndOfWal, EndReason, Next, ReadError, ReaderOptions, SegmentFiles, SegmentSupply, SourceError, WalBytes,
    WalReader, WalSource,
};
pub use record::{Block, BlockRef, EncodedRecord, ImageMethod, PageImage, Record, RecordBuilder, Rmgr};
pub use segments::{Removed, Retention, SegmentFate, SegmentFile, SegmentFolder};
pub use watermark::{Stopped, Watermark};
pub use writer::{Inserted, LogObserver, Reservation, WalStats, WalWriter, WriteStart, WriterConfig};
