//! A process for each run: whatever a run leaves behind (stacks of nodes that were killed, above all) goes
//! with it, and a run that panics or never ends takes nobody with it.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};
use std::fs::File;
use std::io::{self, Read, Write};
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

/// Runs `work` in a process of its own, at most for `limit`; what it returns, and what it wrote to the file
/// that it is given, comes back. The calling process must have one thread.
///
/// # Errors
///
/// The system gives no process.
pub fn in_own_process(
    limit: Duration,
    work: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Ended> {
    let (reads, writes) = pipe()?;
    // SAFETY: there is one thread, so nothing is held that the child would wait for.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(reads);
            let mut out = File::from(writes);
            let code = match work(&mut out) {
                Ok(()) => DONE,
                Err(_) => 1,
            };
            // SAFETY: ends the process at once; nothing of it is to be cleaned up.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            drop(writes);
            let (said, late) = read_until(File::from(reads), child, limit)?;
            let status = waitpid(child, None)?;
            Ok(match status {
                _ if late => Ended::Late(said),
                WaitStatus::Exited(_, DONE) => Ended::Said(said),
                other => Ended::Died(format!("{other:?}"), said),
            })
        }
    }
}

/// Reads all that a process says; kills it when its time is over.
fn read_until(mut from: File, child: Pid, limit: Duration) -> io::Result<(Vec<u8>, bool)> {
    let begun = Instant::now();
    let (mut said, mut buf, mut late) = (Vec::new(), [0; 64 << 10], false);
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        if !late && !is_readable(&from, left)? {
            late = true;
            // It may end by itself at this moment.
            let _ = kill(child, Signal::SIGKILL);
        }
        match from.read(&mut buf)? {
            0 => return Ok((said, late)),
            len => said.extend_from_slice(buf.get(..len).unwrap_or_default()),
        }
    }
}

fn is_readable(from: &File, within: Duration) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let limit = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, limit) {
            Err(nix::errno::Errno::EINTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}
