//! The backup manifest: what files a base backup has, and how to tell that they are whole.
//!
//! The manual's chapter "Backup Manifest Format" (PostgreSQL 15, version 1): one JSON object, whose lines
//! break as below because the last line's checksum (SHA-256) covers all lines before it, byte for byte.
//!
//! ```text
//! { "PostgreSQL-Backup-Manifest-Version": 1,
//! "Files": [
//! { "Path": "...", "Size": n, "Last-Modified": "... GMT", "Checksum-Algorithm": "...", "Checksum": "..." },
//! ],
//! "WAL-Ranges": [
//! { "Timeline": n, "Start-LSN": "...", "End-LSN": "..." }
//! ],
//! "Manifest-Checksum": "<sha256>"}
//! ```
//!
//! A path that is not UTF-8 stands as `"Encoded-Path"`, in hexadecimal.

pub mod checksum;
mod parse;
mod verify;
mod write;

pub use parse::{Manifest, ManifestError, ManifestFile};
pub use verify::{Problem, verify_directory};
pub use write::{FileEntry, ManifestWriter};

use wal::{Lsn, TimelineId};

/// The file's name in a backup.
pub const MANIFEST_FILE: &str = "backup_manifest";
/// Stands in a directory while it is being cloned into; part of no backup.
pub const MARKER_FILE: &str = "plimsoll.clone";
/// The largest manifest that is written or read, in bytes: about a million files.
pub const MANIFEST_SIZE_MAX: usize = 256 << 20;

/// Log that belongs to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalRange {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first byte.
    pub start: Lsn,
    /// The end, exclusive.
    pub end: Lsn,
}

#[cfg(test)]
mod tests;
