//! Shell commands of the settings: their placeholders, and running them.

use host::ShellCommand;
use host::sync::Mutex;
use host::task::{Blocking, task};
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
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
    /// It was ended because the server stops, or is left to the next life of the node.
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

/// A command that was begun for a file.
pub(crate) struct Running {
    file: Option<String>,
    command: String,
    shell: Arc<ShellCommand>,
    ended: Blocking<io::Result<ExitStatus>>,
}

impl Running {
    /// The file; none for a command that is not left.
    pub(crate) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    pub(crate) fn command(&self) -> &str {
        &self.command
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Runs a node's commands, and owns each until it has ended: whoever has asked for it may go away.
#[derive(Debug, Default)]
pub(crate) struct ShellCommands {
    tracker: TaskTracker,
    end: CancellationToken,
    leave: CancellationToken,
    left: Arc<Mutex<Option<Running>>>,
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
        self.run_for(None, command, data_dir, stop).await
    }

    /// The same for what is done with a file: [`Self::leave`] leaves this one to go on.
    pub(crate) async fn run_for(
        &self,
        file: Option<&str>,
        command: &str,
        data_dir: &Path,
        stop: &CancellationToken,
    ) -> io::Result<Outcome> {
        // Who ends or leaves all commands waits for one that begins, too.
        let _begins = self.tracker.token();
        if stop.is_cancelled() || self.end.is_cancelled() {
            return Ok(Outcome::Stopped);
        }
        let shell = Arc::new(ShellCommand::spawn(command, data_dir, Stdio::inherit())?);
        let waiting = shell.clone();
        let ended = host::task::blocking(move || waiting.wait());
        let (file, command) = (file.map(str::to_owned), command.to_owned());
        self.go_on_with(Running { file, command, shell, ended }, stop).await
    }

    /// Waits for a command that runs already.
    pub(crate) async fn go_on_with(&self, running: Running, stop: &CancellationToken) -> io::Result<Outcome> {
        let (leave, left) = (self.leave.clone(), self.left.clone());
        let owning = own(running, stop.clone(), self.end.clone(), leave, left);
        self.tracker.spawn(task(owning)).await.map_err(io::Error::other)?
    }

    /// Ends what still runs but for a command for a file, which goes on: it may be in the middle of it. For
    /// whoever waits for it here it was stopped; dropped, it is killed.
    pub(crate) async fn leave(&self) -> Option<Running> {
        self.leave.cancel();
        self.finish().await;
        self.left.lock().take()
    }

    /// Ends what still runs, and waits for that.
    pub(crate) async fn finish(&self) {
        self.end.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Waits for a command, or ends it once one of the two says so, or leaves it.
async fn own(
    running: Running,
    stop: CancellationToken,
    end: CancellationToken,
    leave: CancellationToken,
    left: Arc<Mutex<Option<Running>>>,
) -> io::Result<Outcome> {
    let Running { file, command, shell, mut ended } = running;
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
        () = leave.cancelled(), if file.is_some() => {
            *left.lock() = Some(Running { file, command, shell, ended });
            return Ok(Outcome::Stopped);
        }
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
    async fn a_command_for_a_file_goes_on_when_it_is_left_and_another_one_ends() {
        let (folder, commands) = (tempfile::tempdir().unwrap(), Arc::new(ShellCommands::default()));
        let [go, up] = ["go", "up"].map(|name| folder.path().join(name));
        for fifo in [&go, &up] {
            nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let start = |file: Option<&'static str>| {
            let (commands, dir) = (commands.clone(), folder.path().to_owned());
            tokio::spawn(async move {
                let command = "echo up > up; read -r go < go; echo $go > done";
                commands.run_for(file, command, &dir, &CancellationToken::new()).await
            })
        };
        let (first, second) = (start(Some("A")), start(None));
        let read = tokio::task::spawn_blocking(move || {
            let text = std::fs::read_to_string(&up).unwrap();
            if text.lines().count() < 2 { text + &std::fs::read_to_string(up).unwrap() } else { text }
        });
        assert_eq!(read.await.unwrap(), "up\nup\n", "both run");
        let left = commands.leave().await.unwrap();
        assert_eq!(left.file(), Some("A"));
        for run in [first, second] {
            assert_eq!(run.await.unwrap().unwrap(), Outcome::Stopped);
        }
        let next = ShellCommands::default();
        let stop = CancellationToken::new();
        let (ended, _) = tokio::join!(
            next.go_on_with(left, &stop),
            tokio::task::spawn_blocking(move || std::fs::write(go, "on\n").unwrap())
        );
        assert_eq!(ended.unwrap(), Outcome::Done);
        assert_eq!(std::fs::read_to_string(folder.path().join("done")).unwrap(), "on\n");
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
