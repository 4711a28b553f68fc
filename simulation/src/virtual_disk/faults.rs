//! Faults that are made to happen, and the list of calls they can be made to happen at.

use std::io;
use std::path::{Path, PathBuf};

/// The calls of the file-access trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// Opening a file that exists.
    Open,
    /// Opening a file so that it is created.
    Create,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Reserving space.
    Allocate,
    /// Setting a file's length.
    Truncate,
    /// Making a file durable.
    Sync,
    /// Renaming.
    Rename,
    /// Giving a file a second name.
    Link,
    /// Removing a file.
    RemoveFile,
    /// Creating a folder.
    CreateDir,
    /// Removing a folder.
    RemoveDir,
    /// Listing a folder.
    List,
    /// Asking what a path is.
    Metadata,
    /// Making a folder's names durable.
    SyncDir,
    /// Mapping a sealed file.
    Map,
    /// Locking a file.
    Lock,
}

impl Call {
    /// Whether it changes something, so that the disk's state after it is another crash state.
    pub const fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::List | Self::Metadata | Self::Map | Self::Lock)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// EIO. A sync that fails so drops the dirty data of its file, as Linux does: the next sync succeeds and
    /// has saved nothing.
    Io,
    /// ENOSPC.
    NoSpace,
    /// EOPNOTSUPP: the disk has no such call.
    Unsupported,
    /// A write takes only this many bytes (at least one less than it was given) and reports so.
    Short(usize),
    /// Power fails: this call and all later ones fail with EIO and change nothing.
    PowerOff,
}

/// One fault: the `nth` call of a kind on a path that contains `path` fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which calls are counted; None counts all that change something.
    pub call: Option<Call>,
    /// A part of the path, empty for all.
    pub path: String,
    /// Which of the counted calls fails, from 1.
    pub nth: u64,
    /// Whether all later ones fail too.
    pub lasting: bool,
    /// How.
    pub kind: FaultKind,
}

impl Fault {
    /// The `nth` call of this kind on a path that contains `path` fails, once.
    pub fn once(call: Call, path: &str, nth: u64, kind: FaultKind) -> Self {
        Self { call: Some(call), path: path.to_owned(), nth, lasting: false, kind }
    }
    /// All calls of this kind on a path that contains `path` fail.
    pub fn always(call: Call, path: &str, kind: FaultKind) -> Self {
        Self { call: Some(call), path: path.to_owned(), nth: 1, lasting: true, kind }
    }
    /// Power fails at the `nth` call from now that would change something.
    pub fn power_off(nth: u64) -> Self {
        Self { call: None, path: String::new(), nth, lasting: true, kind: FaultKind::PowerOff }
    }
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number among those that change something (for others: the number of the one before).
    pub number: u64,
    /// What was called.
    pub call: Call,
    /// On which path (for files: the one they were opened by).
    pub path: PathBuf,
}

/// The armed faults.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    armed: Vec<(Fault, u64)>,
    power_is_off: bool,
}

impl Faults {
    pub(super) fn arm(&mut self, fault: Fault) {
        self.armed.push((fault, 0));
    }
    pub(super) fn disarm(&mut self, fault: &Fault) {
        self.armed.retain(|(armed, _)| armed != fault);
    }
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Counts a call; returns what is to go wrong with it.
    pub(super) fn meet(&mut self, call: Call, path: &Path) -> Option<FaultKind> {
        if self.power_is_off {
            return Some(FaultKind::PowerOff);
        }
        let mut met = None;
        let path = path.to_string_lossy();
        for (fault, count) in &mut self.armed {
            let counted = fault.call.map_or(call.changes(), |wanted| wanted == call);
            if !counted || !path.contains(&fault.path) {
                continue;
            }
            *count += 1;
            if *count == fault.nth || (fault.lasting && *count > fault.nth) {
                met = met.or(Some(fault.kind));
            }
        }
        self.power_is_off = met == Some(FaultKind::PowerOff);
        met
    }
}

pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

pub(super) fn enospc() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

pub(super) fn eopnotsupp() -> io::Error {
    io::Error::from_raw_os_error(libc::EOPNOTSUPP)
}
