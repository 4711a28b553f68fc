//! tar, as pg_basebackup reads it: POSIX ustar headers, contents in blocks of 512 bytes, two blocks of zeros
//! at the end.

use super::walk::Failure;
use bytes::{Bytes, BytesMut};
use tar::{EntryType, Header};
use tokio::sync::mpsc::Sender;

/// Bytes of one Data event.
pub(super) const CHUNK: usize = 64 << 10;
/// Bytes of a tar block.
const BLOCK: u64 = 512;
/// The longest name that fits the header's first field, which is all that pg_basebackup reads.
const NAME_MAX: usize = 99;

/// What comes out of a walk.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes of the archive.
    Data(Bytes),
    /// Something that the client and the log are to be told.
    Warning(String),
}

/// Collects archive bytes into chunks, for a receiver that may be slow.
#[derive(Debug)]
pub(super) struct TarStream {
    buffer: BytesMut,
    to: Sender<Piece>,
}

impl TarStream {
    pub(super) fn new(to: Sender<Piece>) -> Self {
        Self { buffer: BytesMut::with_capacity(CHUNK), to }
    }

    /// Appends bytes; waits while the receiver is busy.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == CHUNK {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends zeros up to the next block.
    pub(super) fn pad(&mut self, size: u64) -> Result<(), Failure> {
        self.zeros(padding(size))
    }

    pub(super) fn zeros(&mut self, mut count: u64) -> Result<(), Failure> {
        while count > 0 {
            let now = count.min(BLOCK);
            self.put([0; BLOCK as usize].get(..usize::try_from(now).unwrap_or(0)).unwrap_or_default())?;
            count -= now;
        }
        Ok(())
    }

    /// Hands over what was collected.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK));
        self.give(Piece::Data(full.freeze()))
    }

    /// Tells something beside the archive.
    pub(super) fn warn(&self, message: String) -> Result<(), Failure> {
        self.give(Piece::Warning(message))
    }

    fn give(&self, piece: Piece) -> Result<(), Failure> {
        host::task::blocking_send(&self.to, piece).map_err(|_| Failure::Gone)
    }
}

/// Zeros behind contents of this size.
pub(super) const fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

/// Bytes that a file of this size takes in an archive.
pub(super) const fn entry_size(size: u64) -> u64 {
    BLOCK + size + padding(size)
}

/// What a header says of its file or folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// Path below the data directory, with slashes.
    pub path: &'a str,
    pub folder: bool,
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u64,
    pub owner: (u32, u32),
}

/// The header's 512 bytes.
pub(super) fn header(entry: Entry<'_>) -> Result<Header, Failure> {
    let too_long = || Failure::NameTooLong(entry.path.to_owned());
    let mut header = Header::new_ustar();
    let path = if entry.folder { format!("{}/", entry.path) } else { entry.path.to_owned() };
    if path.len() > NAME_MAX {
        return Err(too_long());
    }
    header.set_path(&path).map_err(|_| too_long())?;
    header.set_entry_type(if entry.folder { EntryType::Directory } else { EntryType::Regular });
    header.set_size(entry.size);
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.0.into());
    header.set_gid(entry.owner.1.into());
    header.set_mtime(entry.modified);
    header.set_cksum();
    Ok(header)
}
