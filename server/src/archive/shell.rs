//! Shell commands of the settings: their placeholders, and running them.

use host::ShellCommand;
use host::task::task;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Done,
    /// It failed, as such commands may.
    Failed { code: i32 },
    /// The shell could not run it, or a signal ended it: trying again at once makes no sense.
    Broken { code: Option<i32>, signal: Option<i32> },
    /// It was ended because the server stops.
    Stopped,
}

impl Outcome {
    /// What PostgreSQL's log says of an exit.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Done => "child process exited with exit code 0".to_owned(),
            Self::Failed { code } | Self::Broken { code: Some(code), .. } => match code {
                126 => "command not executable".to_owned(),
                127 => "command not found".to_owned(),
                code => format!("child process exited with exit code {code}"),
            },
            Self::Broken { signal: Some(signal), .. } => {
                format!("child process was terminated by signal {signal}")
            }
            Self::Broken { .. } => "child process exited with unrecognized status".to_owned(),
            Self::Stopped => "child process was terminated by signal 15: Terminated".to_owned(),
        }
    }
}

/// Puts values in place of `%p`, `%f`, `%r`; `%%` is a percent sign, and everything else stays as it is.
pub fn expand(template: &str, values: &[(char, &str)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut chars = template.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        match chars.peek().copied() {
            Some('%') => {
                chars.next();
                out.push('%');
            }
            Some(name) if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) => {
                chars.next();
                out.push_str(value);
            }
            _ => out.push('%'),
        }
    }
    out
}

/// Whether [`expand`] has a place for this value in the command.
pub fn has_placeholder(template: &str, name: char) -> bool {
    let mut chars = template.chars();
    while let Some(char) = chars.next() {
        // What stands behind a percent sign belongs to it, a second one too.
        if char == '%' && chars.next() == Some(name) {
            return true;
        }
    }
    false
}

/// How long a command that is asked to end may take for that.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a node's commands, and owns each until it has ended: whoever has asked for it may go away.
#[derive(Debug, Default)]
pub(crate) struct ShellCommands {
    tracker: TaskTracker,
    end: CancellationToken,
}

impl ShellCommands {
    /// Runs a command by the shell in the data directory; `stop` ends it. Its output goes where the server's
    /// goes.
    pub(crate) async fn run(
        &self,
        command: &str,
        data_dir: &Path,
        stop: &CancellationToken,
    ) -> io::Result<Outcome> {
        if stop.is_cancelled() || self.end.is_cancelled() {
            return Ok(Outcome::Stopped);
        }
        let shell = ShellCommand::spawn(command, data_dir, Stdio::inherit())?;
        let owner = self.tracker.spawn(task(own(Arc::new(shell), stop.clone(), self.end.clone())));
        owner.await.map_err(io::Error::other)?
    }

    /// Ends what still runs, and waits for that.
    pub(crate) async fn finish(&self) {
        self.end.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Waits for a command, or ends it once one of the two says so.
async fn own(
    shell: Arc<ShellCommand>,
    stop: CancellationToken,
    end: CancellationToken,
) -> io::Result<Outcome> {
    let waiting = shell.clone();
    let mut ended = host::task::blocking(move || waiting.wait());
    let told = async {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = end.cancelled() => {}
        }
    };
    let status = tokio::select! {
        biased;
        status = &mut ended => status.map_err(io::Error::other)??,
        () = told => {
            shell.terminate();
            let timely = tokio::time::timeout(GRACE, &mut ended).await.is_ok();
            // What did not listen, and what an ended shell has left behind.
            shell.kill();
            if !timely {
                ended.await.map_err(io::Error::other)??;
            }
            return Ok(Outcome::Stopped);
        }
    };
    use std::os::unix::process::ExitStatusExt;
    Ok(match status.code() {
        Some(0) => Outcome::Done,
        Some(code @ 1..=125) => Outcome::Failed { code },
        code => Outcome::Broken { code, signal: status.signal() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_other_percent_signs_stay() {
        let values = [('p', "pg_wal/A"), ('f', "A")];
        assert_eq!(expand("cp %p /x/%f", &values), "cp pg_wal/A /x/A");
        assert_eq!(expand("date +%%d%%; %q %", &values), "date +%d%; %q %");
        assert_eq!(expand("%%p", &values), "%p");
        assert!(has_placeholder("cp %p /x/%f", 'f') && has_placeholder("%q%f", 'f'));
        assert!(!has_placeholder("cp %p /x/%%f %", 'f') && !has_placeholder("f", 'f'));
    }

    async fn run(command: &str) -> Outcome {
        ShellCommands::default().run(command, Path::new("/"), &CancellationToken::new()).await.unwrap()
    }

    #[tokio::test]
    async fn exits_are_told_apart() {
        assert_eq!(run("true").await, Outcome::Done);
        assert_eq!(run("exit 3").await, Outcome::Failed { code: 3 });
        let missing = run("no_such_command_here 2>/dev/null").await;
        assert_eq!(missing, Outcome::Broken { code: Some(127), signal: None });
        assert_eq!(run("kill -9 $$").await, Outcome::Broken { code: None, signal: Some(9) });
    }

    #[tokio::test]
    async fn a_command_outlives_who_waits_for_it_but_not_its_owner() {
        let (folder, commands) = (tempfile::tempdir().unwrap(), Arc::new(ShellCommands::default()));
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (running, dir) = (commands.clone(), folder.path().to_owned());
        let waiter = tokio::spawn(async move {
            let stop = CancellationToken::new();
            running.run("echo up > fifo; sleep 1000; true", &dir, &stop).await
        });
        let opened = tokio::task::spawn_blocking(move || std::fs::read_to_string(fifo));
        assert_eq!(opened.await.unwrap().unwrap(), "up\n", "it runs");
        waiter.abort();
        assert!(waiter.await.unwrap_err().is_cancelled());
        assert_eq!(commands.tracker.len(), 1, "it has an owner still");
        commands.finish().await;
        assert!(commands.tracker.is_empty());
    }

    #[tokio::test]
    async fn nothing_begins_after_a_stop() {
        let (stop, commands) = (CancellationToken::new(), ShellCommands::default());
        stop.cancel();
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(commands.run("touch begun", folder.path(), &stop).await.unwrap(), Outcome::Stopped);
        assert!(!folder.path().join("begun").exists());
    }
}
