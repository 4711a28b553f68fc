//! What the machine gives the engine: files, a clock, randomness, memory, and shell commands that end with
//! their owner.
//!
//! All durable I/O of Plimsoll goes through [`Disk`] and [`File`], so that the same code runs on the real
//! file system ([`RealDisk`]) and on the virtual disk of the crate `simulation`, which cuts power, tears
//! sectors and fails the Nth call. Time and randomness come from [`Clock`] and [`Entropy`] for the same
//! reason.
//!
//! Durability: nothing is durable until [`File::sync`] of the file, and, for a name that was given, changed
//! or removed, [`Disk::sync_dir`] of its folder. A sync that fails is never retried by callers: what the
//! kernel did with the dirty data is unknown.
//!
//! Threads, tasks, locks and monotonic time have their names here, too ([`thread`], [`task`], [`sync`],
//! [`Instant`]), and product code takes them from here alone.
//!
//! It also ends the process where a panic leaves what nobody may trust ([`vital`], [`Mutex`]).
//!
//! It knows no WAL, no pages and nothing of what is said on a socket.

mod access;
mod clock;
mod disk;
mod durable;
mod memory;
pub mod net;
mod real;
mod shell;
mod timer;
mod vital;
mod waited;
mod words;

// Real ones, or those of the simulator, which has the same names.
#[cfg(not(feature = "simulated"))]
pub mod sync;
#[cfg(not(feature = "simulated"))]
pub mod task;
#[cfg(not(feature = "simulated"))]
pub mod thread;
#[cfg(feature = "simulated")]
pub use simulated::{sync, task, thread};

pub use access::Access;
pub use clock::{Clock, Entropy, SystemClock, SystemEntropy, Timestamp};
pub use disk::{
    DirEntry, Disk, File, FileKind, LockGuard, Mapping, Metadata, OpenMode, SharedDisk, SharedFile,
};
pub use durable::{
    SECTOR_SIZE, TreeError, copy_beginning, durable_rename, is_disk_full, overwrite_durably, remove_tree,
    sync_steps, sync_tree, sync_tree_while, take_room, temporary_of, write_file_durably, write_reserved_file,
};
pub use memory::{MemoryLimit, bound_kept_memory, give_back_freed_memory, machine_bytes, note_freed_memory};
pub use real::RealDisk;
pub use shell::ShellCommand;
pub use timer::FineTimer;
pub use tokio::time::Instant;
pub use vital::{Mutex, MutexGuard, Vital, VitalTask, vital, vital_task};
pub use waited::{Looks, Passed, Waited};
pub use words::{os_message, shell_word, without_error_numbers};

use std::sync::Arc;

/// How keys are hashed: so that nobody who chooses them can make them meet, as hashbrown does by itself; in a
/// simulation the same for every process, as the order in which keys come is part of a run's course.
#[cfg(not(feature = "simulated"))]
pub type HashState = hashbrown::DefaultHashBuilder;
/// How keys are hashed: the same for every process, as the order in which keys come is part of a run's
/// course.
#[cfg(feature = "simulated")]
pub type HashState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// The number of this process; in a simulation that of the node's life.
pub fn process_id() -> u32 {
    #[cfg(feature = "simulated")]
    if let Some(life) = simulated::fiber::current_life() {
        return life.process_id();
    }
    std::process::id()
}

/// The command line of this process; in a simulation the program's name alone.
pub fn command_line() -> Vec<String> {
    #[cfg(feature = "simulated")]
    if simulated::fiber::in_fiber() {
        return vec!["plimsoll".to_owned()];
    }
    std::env::args().collect()
}

/// An environment variable of this process; a simulation has none.
pub fn variable(name: &str) -> Option<String> {
    #[cfg(feature = "simulated")]
    if simulated::fiber::in_fiber() {
        return None;
    }
    std::env::var(name).ok()
}

/// The home folder of who runs this process: HOME, or else what the system's list of users says; a simulation
/// has none.
pub fn home_folder() -> Option<String> {
    #[cfg(feature = "simulated")]
    if simulated::fiber::in_fiber() {
        return None;
    }
    variable("HOME").filter(|home| !home.is_empty()).or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten()?;
        user.dir.into_os_string().into_string().ok()
    })
}

/// Whether a bug that is planted to test the simulator's checks is on; its text says what it does wrong.
/// Never in what users run.
#[cfg(not(feature = "simulated"))]
#[macro_export]
macro_rules! planted {
    ($bug:literal) => {
        false
    };
}

/// Whether a bug that is planted to test the simulator's checks is on; its text says what it does wrong.
#[cfg(feature = "simulated")]
#[macro_export]
macro_rules! planted {
    ($bug:literal) => {
        $crate::planted_is_on($bug)
    };
}

#[cfg(feature = "simulated")]
#[doc(hidden)]
pub use simulated::planted::is_on as planted_is_on;

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
}
