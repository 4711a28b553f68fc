//! The machines of a simulated cluster: disks that take time, clocks that are off, one source of randomness,
//! and a process of its own for each run.

mod clock;
mod disk;
mod entropy;
pub mod ledger_file;
pub mod log_rules;
mod process;
pub mod rewind_rules;
pub mod rules;
mod run;
pub mod slot_files;
pub mod spared;
mod unsettled;

pub use clock::NodeClock;
pub use disk::{DiskSpeed, NodeDisk};
pub use process::{Ended, exit_now, in_own_process, in_own_processes, keep_memory, use_large_pages};
pub use run::{Trace, simulate};

use host::{Host, Timestamp};
use simulation::{SeededEntropy, VirtualDisk};
use std::sync::Arc;

/// When a simulation begins, on a clock that is right: 2030-01-01.
pub const BEGIN: Timestamp = Timestamp::from_unix_micros(1_893_456_000_000_000);

/// What a life of a node has of its machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its files.
    pub disk: Arc<NodeDisk>,
    /// Its clock.
    pub clock: Arc<NodeClock>,
    /// As the engine sees it.
    pub host: Host,
}

impl Machine {
    /// A machine with the files of `disk`.
    pub fn new(disk: &VirtualDisk, clock: &Arc<NodeClock>, speed: DiskSpeed, seed: u64) -> Self {
        let disk = Arc::new(NodeDisk::new(disk.clone(), speed, seed));
        let host = Host {
            disk: disk.clone(),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(seed.wrapping_add(1))),
        };
        Self { disk, clock: clock.clone(), host }
    }
}
