//! Shell commands that have an owner, whatever becomes of it.
//!
//! A command runs in a process group of its own, together with a watcher: a shell that waits for the end of a
//! pipe whose other end only this process holds. So when this process ends in any way, by SIGKILL too, the
//! watcher ends the group: what has not ended a second after SIGTERM gets SIGKILL. The watcher is reaped
//! last, so the group's number means this group for as long as anybody here uses it. Not reached is what has
//! left the group on purpose (`setsid`, `set -m`).

#[cfg(feature = "simulated")]
mod either;

#[cfg(not(feature = "simulated"))]
pub use Process as ShellCommand;
#[cfg(feature = "simulated")]
pub use either::ShellCommand;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Waits until its owner has gone, then ends the group.
const WATCHER: &str = "trap '' HUP INT QUIT TERM; read -r gone; kill -TERM 0; sleep 1; kill -KILL 0";

/// A running shell command. Dropped before it has ended, it is killed with all that it has started.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    /// Its standard input is the pipe.
    watcher: Child,
    group: Pid,
}

impl Process {
    /// Starts a command by the shell in a folder. It reads nothing; its errors go where this process's go,
    /// its output to `output`.
    pub fn spawn(command: &str, folder: &Path, output: Stdio) -> io::Result<Self> {
        let shell = |text: &str| {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(text).current_dir(folder);
            shell
        };
        let mut watcher = shell(WATCHER)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let group = i32::try_from(watcher.id()).map_err(io::Error::other)?;
        let child = shell(command).stdin(Stdio::null()).stdout(output).process_group(group).spawn();
        match child {
            Ok(child) => Ok(Self { child: Mutex::new(child), watcher, group: Pid::from_raw(group) }),
            Err(error) => {
                reap(&mut watcher);
                Err(error)
            }
        }
    }

    /// Waits until the shell has ended. Blocks.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        self.child.lock().wait()
    }

    /// Asks the command and all that it has started to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends the command and all that it has started (SIGKILL).
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        // It fails only for a group that is gone, and the watcher, which is not reaped yet, keeps this one.
        let _ = killpg(self.group, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        if !matches!(child.try_wait(), Ok(Some(_))) {
            let _ = killpg(self.group, Signal::SIGKILL);
            reap(child);
        }
        reap(&mut self.watcher);
    }
}

fn reap(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};

    /// Runs a command whose descendants all hold the write end of a pipe, so that the pipe's end tells that
    /// all of them are gone.
    fn spawn(command: &str) -> (Process, BufReader<io::PipeReader>) {
        let (reader, writer) = io::pipe().unwrap();
        (Process::spawn(command, Path::new("/"), Stdio::from(writer)).unwrap(), BufReader::new(reader))
    }

    fn line(output: &mut impl BufRead) -> String {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[test]
    fn a_command_ends_by_itself_with_its_own_status() {
        let (shell, mut output) = spawn("echo here; exit 3");
        assert_eq!(shell.wait().unwrap().code(), Some(3));
        drop(shell);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "here\n");
    }

    #[test]
    fn what_a_command_has_started_ends_with_it_even_if_it_does_not_want_to() {
        let (shell, mut output) = spawn("(trap '' TERM; echo up; sleep 1000) & wait");
        assert_eq!(line(&mut output), "up");
        shell.terminate();
        shell.wait().unwrap();
        shell.kill();
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("the end comes when the last one has gone");
        drop(shell);
        let (shell, mut output) = spawn("(trap '' TERM; echo up; sleep 1000) & wait");
        assert_eq!(line(&mut output), "up");
        drop(shell);
        output.read_to_string(&mut rest).expect("the end comes when the last one has gone");
    }

    #[test]
    fn a_command_whose_owner_is_killed_ends_too() {
        let (mut shell, mut output) = spawn("echo up; sleep 1000; true");
        assert_eq!(line(&mut output), "up");
        // What the kernel does for a process that has gone.
        drop(shell.watcher.stdin.take());
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("the end comes when the last one has gone");
    }
}
