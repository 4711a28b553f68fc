//! How much memory a server may take, how much its process has, and how much of that is kept although nobody
//! uses it.
//!
//! What the process has is asked of the kernel, so that nothing is forgotten; what is about to be filled is
//! added to it. Who takes much at once reserves it first; who takes many small pieces looks at
//! [`MemoryLimit::is_reached`], which is kept up to date by whoever calls [`MemoryLimit::look`] regularly.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A limit of what this process takes. The process's memory is one, so servers in one process share what they
/// have.
#[derive(Debug)]
pub struct MemoryLimit {
    limit_bytes: AtomicU64,
    /// Asked for and not filled yet.
    reserved_bytes: AtomicU64,
    reached: AtomicBool,
}

impl Default for MemoryLimit {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl MemoryLimit {
    /// A limit of so many bytes of anonymous memory.
    pub const fn new(bytes: u64) -> Self {
        Self {
            limit_bytes: AtomicU64::new(bytes),
            reserved_bytes: AtomicU64::new(0),
            reached: AtomicBool::new(false),
        }
    }

    /// The limit in bytes.
    pub fn bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Changes it.
    pub fn set(&self, bytes: u64) {
        self.limit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether the process had all that it may have at the last look.
    #[inline]
    pub fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Looks how much the process has. What is free, and only kept by the allocator, keeps nobody out: if
    /// there is too much, it may take milliseconds.
    pub fn look(&self) {
        let over = || process_bytes() >= self.bytes();
        self.reached.store(over() && (!trim_if_time() || over()), Ordering::Relaxed);
    }

    /// Takes memory that is about to be filled; false if that is more than there may be.
    #[must_use]
    pub fn reserve(&self, bytes: u64) -> bool {
        let reserved = self.reserved_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let fits = || process_bytes().saturating_add(reserved) <= self.bytes();
        if fits() || (trim_if_time() && fits()) {
            return true;
        }
        self.release(bytes);
        false
    }

    /// Gives back what was reserved: it has been filled, and shows in what the process has, or it will not
    /// be.
    pub fn release(&self, bytes: u64) {
        self.reserved_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Anonymous memory of this process, in bytes: heap, stacks and buffers without mapped files. 0 if the kernel
/// does not tell.
pub fn process_bytes() -> u64 {
    #[cfg(feature = "simulated")]
    if simulated::fiber::in_fiber() {
        // Several nodes share this process.
        return 0;
    }
    // Sizes in pages: all, resident, and resident of files (proc(5)).
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = text.split_ascii_whitespace().skip(1).map(|word| word.parse::<u64>().unwrap_or(0));
    let (resident, of_files) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(of_files) * page_bytes()
}

fn page_bytes() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u64::try_from(bytes).ok());
    bytes.unwrap_or(4096)
}

/// What this process can have at most: the machine's memory, or less where the process is in a group with a
/// limit. In bytes; `u64::MAX` if neither is known.
pub fn machine_bytes() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = machine.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let machine = machine.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let machine = machine.map_or(u64::MAX, |kilobytes| kilobytes << 10);
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // The line of the one hierarchy that version 2 has: "0::/path".
    let group = group.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let limits = ["/sys/fs/cgroup/memory.max".to_owned(), format!("/sys/fs/cgroup/{group}/memory.max")];
    let limits = limits.iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.min().unwrap_or(u64::MAX).min(machine)
}

/// What is as large is mapped by itself, and given back when it is freed.
const MAPPED_BYTES_MIN: libc::c_int = 4 << 20;
/// What each arena keeps at its end.
const KEPT_BYTES_MAX: libc::c_int = 4 << 20;

/// Much memory was freed in small pieces since memory was given back. It is the process's: so is the
/// allocator.
static FREED: AtomicBool = AtomicBool::new(false);

/// Notes that something large that was made of small pieces is about to be freed, or was just now.
pub fn note_freed_memory() {
    FREED.store(true, Ordering::Relaxed);
}

/// Bounds what the allocator keeps at the end of each of its arenas. By itself it comes to keep up to 64 MB
/// there, for each, once large pieces were freed, and does not give it back when asked. For the start of a
/// server, before it has threads.
pub fn bound_kept_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (what, bytes) in
        [(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN), (libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX)]
    {
        // SAFETY: it has no conditions but that nobody allocates at the same time: there is one thread.
        unsafe { libc::mallopt(what, bytes) };
    }
}

/// Gives back to the system what is free, if [`note_freed_memory`] was called since the last time: the
/// allocator would keep it, for each of its arenas. Costs nothing else; then milliseconds.
#[inline]
pub fn give_back_freed_memory() {
    if FREED.load(Ordering::Relaxed) && FREED.swap(false, Ordering::Relaxed) {
        trim();
    }
}

/// Time between two tries to get below a limit by giving back what is free.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// Gives back what is free, unless that was done a moment ago.
#[cold]
fn trim_if_time() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let Some(mut last) = LAST.try_lock() else { return false };
    if last.is_some_and(|last| last.elapsed() < TRIM_EVERY) {
        return false;
    }
    trim();
    *last = Some(Instant::now());
    true
}

#[cold]
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it has no conditions: it takes the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_has_and_what_is_reserved_count_against_the_limit() {
        let before = process_bytes();
        assert!(before > 0 && before < machine_bytes());
        let limit = MemoryLimit::new(before + (400 << 20));
        assert!(limit.reserve(150 << 20));
        assert!(!limit.reserve(300 << 20), "150 MB are taken already");
        let filled = vec![1_u8; 300 << 20];
        assert!(process_bytes() >= before + (300 << 20));
        assert!(!limit.reserve(150 << 20), "they are filled now");
        limit.look();
        assert!(!limit.is_reached());
        limit.set(before + (filled.len() as u64 / 2));
        limit.look();
        assert!(limit.is_reached());
        drop(filled);
        limit.release(150 << 20);
    }
}
