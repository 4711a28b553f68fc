//! What the machine gives the engine: files, a clock, randomness.
//!
//! All durable I/O of Plimsoll goes through [`Disk`] and [`File`], so that the same code runs on the real
//! file system ([`RealDisk`]) and on the virtual disk ([`VirtualDisk`]) that cuts power, tears sectors and
//! fails the Nth call. Time and randomness come from [`Clock`] and [`Entropy`] for the same reason.
//!
//! Durability: nothing is durable until [`File::sync`] of the file, and, for a name that was created, renamed
//! or removed, [`Disk::sync_dir`] of its folder. A sync that fails is never retried by callers: what the
//! kernel did with the dirty data is unknown.
//!
//! This crate knows no WAL, no pages and no sockets.

mod clock;
mod disk;
mod durable;
mod real;
mod virtual_disk;

pub use clock::{Clock, Entropy, ManualClock, SeededEntropy, SystemClock, SystemEntropy, Timestamp};
pub use disk::{
    DirEntry, Disk, File, FileKind, LockGuard, Mapping, Metadata, OpenMode, SharedDisk, SharedFile,
};
pub use durable::{durable_rename, os_message, write_file_durably};
pub use real::RealDisk;
pub use virtual_disk::{Call, CrashPolicy, Fault, FaultKind, Moment, Observer, Operation, VirtualDisk};

use std::sync::Arc;

/// The machine as the engine sees it; cloning shares it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Durable files.
    pub disk: SharedDisk,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes for identifiers, salts and keys.
    pub entropy: Arc<dyn Entropy>,
}

impl Host {
    /// The real machine.
    pub fn real() -> Self {
        Self { disk: Arc::new(RealDisk), clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }

    /// A machine of tests: this disk, a clock that stands at 2030 until it is moved, and replayable randomness.
    pub fn simulated(disk: &VirtualDisk, seed: u64) -> Self {
        Self {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_893_456_000_000_000))),
            entropy: Arc::new(SeededEntropy::new(seed)),
        }
    }
}
