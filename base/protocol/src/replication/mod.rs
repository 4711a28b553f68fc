//! Physical replication on the wire: commands, and the messages inside CopyBoth.
//!
//! Source: the manual's chapter "Streaming Replication Protocol".

mod command;
mod messages;
mod scanner;

pub use command::{
    BaseBackupOptions, BaseBackupTarget, COMMAND_BYTES_MAX, COPY_OPTION, ChecksumAlgorithm, CommandError,
    CreateSlot, ExtensionCommand, FILES_COMMAND, FILES_GO_ON, ManifestMode, OptionValue, READ_BYTES_MAX,
    READ_COMMAND, ReadFile, ReplicationCommand, StartReplication, parse_command,
};
pub use messages::{
    FromPrimary, FromStandby, HotStandbyFeedback, Keepalive, StatusUpdate, XLOG_DATA_HEADER_BYTES,
    encode_extension, encode_feedback, encode_keepalive, encode_status_update, encode_xlog_data_header,
};

use std::fmt;

/// A byte position in the log as the wire carries it (XLogRecPtr): 0 is none, as an end it is exclusive.
///
/// This crate stands below the log's own, so callers convert by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireLsn(u64);

impl WireLsn {
    /// From its 64-bit value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }
    /// The 64-bit value.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// From pg_lsn's text form.
    pub fn parse(text: &str) -> Option<Self> {
        let half = |part: &str| {
            let plain = (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        let (high, low) = text.split_once('/')?;
        Some(Self(half(high)? << 32 | half(low)?))
    }
}

impl fmt::Display for WireLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}
