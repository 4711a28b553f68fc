//! Shell commands that are processes, or in a simulation what the simulator runs for them.

use super::Process;
use simulated::shell::{Command, Status};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;

/// A running shell command. Dropped before it has ended, it is killed with all that it has started.
#[derive(Debug)]
pub struct ShellCommand(Kind);

#[derive(Debug)]
enum Kind {
    Process(Process),
    Simulated(Command),
}

impl ShellCommand {
    /// As a process does.
    ///
    /// # Errors
    ///
    /// Fails if the system gives no process.
    pub fn spawn(command: &str, folder: &Path, output: Stdio) -> io::Result<Self> {
        Ok(Self(match Command::spawn(command, folder) {
            Some(command) => Kind::Simulated(command),
            None => Kind::Process(Process::spawn(command, folder, output)?),
        }))
    }

    /// Waits until the shell has ended. Blocks.
    ///
    /// # Errors
    ///
    /// Fails if the system does.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        match &self.0 {
            Kind::Process(process) => process.wait(),
            Kind::Simulated(command) => Ok(ExitStatus::from_raw(match command.wait() {
                Status::Exited(code) => i32::from(code) << 8,
                Status::Signalled(number) => i32::from(number),
            })),
        }
    }

    /// Asks the command and all that it has started to end (SIGTERM).
    pub fn terminate(&self) {
        match &self.0 {
            Kind::Process(process) => process.terminate(),
            Kind::Simulated(command) => command.signal(SIGTERM),
        }
    }

    /// Ends the command and all that it has started (SIGKILL).
    pub fn kill(&self) {
        match &self.0 {
            Kind::Process(process) => process.kill(),
            Kind::Simulated(command) => command.signal(SIGKILL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulated::fiber::run_in;
    use simulated::{NodeId, Schedule, World};
    use std::sync::Arc;
    use std::time::Duration;

    /// Runs a command as a node does; `signal` gets it once it runs.
    async fn run(command: &'static str, signal: fn(&ShellCommand)) -> ExitStatus {
        let shell = Arc::new(ShellCommand::spawn(command, Path::new("/data"), Stdio::null()).unwrap());
        let waiting = shell.clone();
        let ended = crate::task::blocking(move || waiting.wait().unwrap());
        tokio::time::sleep(Duration::from_secs(1)).await;
        signal(&shell);
        ended.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn commands_of_a_simulated_node_end_as_processes_do() {
        let world = World::begin(1, Schedule::default());
        let (node, other) = (world.start(NodeId(1)), world.start(NodeId(2)));
        simulated::shell::install(
            NodeId(1),
            Arc::new(|command, folder| {
                assert_eq!(folder, Path::new("/data"));
                let code = command.strip_prefix("exit ").map(|code| code.parse().unwrap());
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_secs(if code.is_some() { 5 } else { 1000 })).await;
                    code.unwrap_or_default()
                })
            }),
        );
        let begun = crate::Instant::now();
        let told = async {
            assert_eq!(run("exit 0", |_| {}).await.code(), Some(0));
            assert_eq!(run("exit 3", |_| {}).await.code(), Some(3));
            assert_eq!(run("sleep", ShellCommand::terminate).await.signal(), Some(15));
            assert_eq!(run("sleep", ShellCommand::kill).await.signal(), Some(9));
        };
        run_in(node, "node", told).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 12);
        let missing = run_in(other, "other", run("exit 0", |_| {})).await.unwrap();
        assert_eq!(missing.code(), Some(127));
    }

    #[test]
    fn outside_of_a_simulation_commands_are_processes() {
        let shell = ShellCommand::spawn("kill -9 $$", Path::new("/"), Stdio::null()).unwrap();
        assert_eq!(shell.wait().unwrap().signal(), Some(9));
    }
}
