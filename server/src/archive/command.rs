//! Shell commands of the settings: their placeholders, and running them.

use std::path::Path;
use std::process::Stdio;
use tokio_util::sync::CancellationToken;

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

/// Runs a command by the shell in the data directory. Its output goes where the server's goes.
pub(crate) async fn run(
    command: &str,
    data_dir: &Path,
    stop: &CancellationToken,
) -> std::io::Result<Outcome> {
    // A group of its own, so that what the shell started goes with it.
    let mut child = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(data_dir)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    let status = tokio::select! {
        status = child.wait() => status?,
        () = stop.cancelled() => {
            if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()) {
                // It may have ended by itself in this moment.
                let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGTERM);
            }
            child.wait().await?;
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
    }

    #[tokio::test]
    async fn exits_are_told_apart() {
        let (dir, stop) = (Path::new("/"), CancellationToken::new());
        assert_eq!(run("true", dir, &stop).await.unwrap(), Outcome::Done);
        assert_eq!(run("exit 3", dir, &stop).await.unwrap(), Outcome::Failed { code: 3 });
        let missing = run("no_such_command_here 2>/dev/null", dir, &stop).await.unwrap();
        assert_eq!(missing, Outcome::Broken { code: Some(127), signal: None });
        let killed = run("kill -9 $$", dir, &stop).await.unwrap();
        assert_eq!(killed, Outcome::Broken { code: None, signal: Some(9) });
    }

    #[tokio::test]
    async fn a_stop_ends_a_command_with_what_it_started() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(run("sleep 100 & wait", Path::new("/"), &stop).await.unwrap(), Outcome::Stopped);
    }
}
