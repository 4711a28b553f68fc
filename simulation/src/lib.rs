//! A machine for tests: what [`host::Host`] gives the engine, under a test's control and replayed by a seed.
//!
//! [`VirtualDisk`] cuts power, tears sectors and fails the Nth call; [`WrappedDisk`] lets a test replace some
//! calls; [`ManualClock`] stands still until it is moved; [`SeededEntropy`] gives the same bytes for the same
//! seed. Only tests depend on this crate: the binary does not contain it. It knows no WAL, no pages and no
//! sockets.

mod clock;
mod virtual_disk;
mod wrapped;

pub use clock::{ManualClock, SeededEntropy};
pub use virtual_disk::{Call, CrashPolicy, Fault, FaultKind, Moment, Observer, Operation, VirtualDisk};
pub use wrapped::{Hooks, WrappedDisk};

use host::{Host, Timestamp};
use std::sync::Arc;

/// A machine with this disk, a clock that stands at 2030 until it is moved, and replayable randomness.
pub fn host(disk: &VirtualDisk, seed: u64) -> Host {
    Host {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_893_456_000_000_000))),
        entropy: Arc::new(SeededEntropy::new(seed)),
    }
}
