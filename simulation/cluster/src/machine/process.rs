//! A process for each run: whatever a run leaves behind (stacks of nodes that were killed, above all) goes
//! with it, and a run that panics or never ends takes nobody with it.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How a run's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this to say.
    Said(Vec<u8>),
    /// By a signal, or without a word; what it wrote until then.
    Died(String, Vec<u8>),
    /// Not within its time: it was killed. What it wrote until then.
    Late(Vec<u8>),
}

/// What a process exits with that has said all.
const DONE: i32 = 0;

/// A process at work.
#[derive(Debug)]
struct Running {
    child: Pid,
    from: File,
    ends: Instant,
    late: bool,
    said: Vec<u8>,
}

impl Running {
    /// Begins `work` in a process of its own.
    fn start(limit: Duration, work: impl FnOnce(File) -> io::Result<()>) -> io::Result<Self> {
        let (reads, writes) = pipe()?;
        // SAFETY: there is one thread, so nothing is held that the child would wait for.
        match unsafe { fork() }? {
            ForkResult::Child => {
                // SAFETY: it is a number that the kernel keeps. Whoever ends the caller ends its runs.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                drop(reads);
                exit_now(work(File::from(writes)).is_ok())
            }
            ForkResult::Parent { child } => {
                let from = File::from(reads);
                Ok(Self { child, from, ends: Instant::now() + limit, late: false, said: Vec::new() })
            }
        }
    }

    /// Reads what it has said; whether that was all.
    fn read(&mut self) -> io::Result<bool> {
        let mut buf = [0; 64 << 10];
        let len = self.from.read(&mut buf)?;
        self.said.extend_from_slice(buf.get(..len).unwrap_or_default());
        Ok(len == 0)
    }

    /// Kills it when its time is over.
    fn look_at_clock(&mut self) {
        if !self.late && Instant::now() >= self.ends {
            self.late = true;
            // It may end by itself at this moment.
            let _ = kill(self.child, Signal::SIGKILL);
        }
    }

    /// Waits for the end of a process that has said all.
    fn end(self) -> io::Result<Ended> {
        Ok(match waitpid(self.child, None)? {
            _ if self.late => Ended::Late(self.said),
            WaitStatus::Exited(_, DONE) => Ended::Said(self.said),
            WaitStatus::Signaled(_, signal, _) => Ended::Died(format!("by {signal}"), self.said),
            WaitStatus::Exited(_, code) => Ended::Died(format!("with exit code {code}"), self.said),
            other => Ended::Died(format!("{other:?}"), self.said),
        })
    }
}

/// Memory that is asked of the kernel at a time, and so much that its pages are not given back and forth.
const MEMORY_STEP_BYTES: libc::c_int = 64 << 20;

/// A large page on most machines; where it is another, the advice is to no avail.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Keeps what is freed for what comes next: a process for one run has a short life. To be called before the
/// process has its second thread: what a thread once had as its own goes to later ones.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (what, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TOP_PAD, MEMORY_STEP_BYTES),
        (libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
        (libc::M_MMAP_MAX, 0),
    ] {
        // SAFETY: it has no conditions but that nobody allocates at the same time: there is one thread.
        unsafe { libc::mallopt(what, value) };
    }
}

/// Has the kernel hand out the memory that comes next in large pages, where it has some: a run touches most
/// of it.
pub fn use_large_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the first call gives memory that is nobody else's or null, and the kernel takes the second as
    // advice on how it is backed. After `keep_memory` what is freed stays this process's.
    unsafe {
        let bytes = MEMORY_STEP_BYTES.unsigned_abs() as usize;
        let memory = libc::malloc(bytes);
        let begin = memory.addr().next_multiple_of(LARGE_PAGE_BYTES);
        let len = (memory.addr() + bytes).saturating_sub(begin) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
        if !memory.is_null() {
            libc::madvise(memory.with_addr(begin), len, libc::MADV_HUGEPAGE);
        }
        libc::free(memory);
    }
}

/// Ends this process at once; nothing of it is cleaned up. Whether it has said all that it had to say.
pub fn exit_now(all_said: bool) -> ! {
    // SAFETY: it does not return, and nobody else is in this process who would miss anything.
    unsafe { libc::_exit(if all_said { DONE } else { 1 }) }
}

/// Runs `work` in a process of its own, at most for `limit`; what it wrote to the file that it is given
/// comes back. The calling process must have one thread.
///
/// # Errors
///
/// The system gives no process.
pub fn in_own_process(limit: Duration, work: impl FnOnce(File) -> io::Result<()>) -> io::Result<Ended> {
    let mut work = Some(work);
    let mut ended = None;
    let run = |(): &(), out| work.take().map_or(Ok(()), |work| work(out));
    in_own_processes((1, limit), std::iter::once(()), run, |(), end| ended = Some(end))?;
    ended.ok_or_else(|| io::Error::other("a process that was started has not ended"))
}

/// Runs `work` for each of `items` in a process of its own: so many at a time, each at most for a time.
/// `done` is told of each as it ends. The calling process must have one thread.
///
/// # Errors
///
/// The system gives no process.
pub fn in_own_processes<I>(
    (at_once, limit): (usize, Duration),
    mut items: impl Iterator<Item = I>,
    mut work: impl FnMut(&I, File) -> io::Result<()>,
    mut done: impl FnMut(I, Ended),
) -> io::Result<()> {
    let mut runs: Vec<(I, Running)> = Vec::new();
    loop {
        while runs.len() < at_once.max(1)
            && let Some(item) = items.next()
        {
            let run = Running::start(limit, |out| work(&item, out))?;
            runs.push((item, run));
        }
        if runs.is_empty() {
            return Ok(());
        }
        for at in wait_for_words(&runs)?.into_iter().rev() {
            if let Some((_, run)) = runs.get_mut(at)
                && run.read()?
            {
                let (item, run) = runs.swap_remove(at);
                done(item, run.end()?);
            }
        }
        runs.iter_mut().for_each(|(_, run)| run.look_at_clock());
    }
}

/// Waits until one of the processes says something or its time is over; the places of those that say
/// something.
fn wait_for_words<I>(runs: &[(I, Running)]) -> io::Result<Vec<usize>> {
    let now = Instant::now();
    let open = runs.iter().filter(|(_, run)| !run.late).map(|(_, run)| run.ends);
    // A little more, so that the time is over then.
    let left = open.min().map(|ends| ends.saturating_duration_since(now) + Duration::from_millis(2));
    let limit =
        left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    let mut fds: Vec<PollFd> =
        runs.iter().map(|(_, run)| PollFd::new(run.from.as_fd(), PollFlags::POLLIN)).collect();
    match poll(&mut fds, limit) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.iter().enumerate().filter(|(_, fd)| fd.any() == Some(true)).map(|(at, _)| at).collect())
}
