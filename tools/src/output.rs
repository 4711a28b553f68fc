//! What commands say on standard output, and on standard error.
//!
//! Whoever reads it may have seen enough (`| head`): then a command goes on with its work, and what it still
//! has to say is dropped. Any other failure, as of a full disk, makes the exit code 1. What cannot be said on
//! standard error has no other place: it is dropped.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Nobody reads what is said any more.
static UNREAD: AtomicBool = AtomicBool::new(false);
/// Something that was said is lost.
static LOST: AtomicBool = AtomicBool::new(false);

/// Says a line; the arguments are those of [`format!`].
macro_rules! say {
    ($($argument:tt)*) => { $crate::output::text(format_args!("{}\n", format_args!($($argument)*))) };
}
pub(crate) use say;

/// Says a line on standard error; the arguments are those of [`format!`].
macro_rules! complain {
    ($($argument:tt)*) => { $crate::output::complaint(format_args!("{}\n", format_args!($($argument)*))) };
}
pub(crate) use complain;

/// An error and its causes, for people.
pub fn error_text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = plain(&cause.to_string());
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            // The text of many an error has its cause's in it.
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// What a server or the system said, as part of a program's own message: without the server's severity behind
/// the program's, its detail and hint on the same line, and without the numbers of system errors.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in host::without_error_numbers(text).lines() {
        let more = ["DETAIL:  ", "HINT:  "].iter().find_map(|label| line.strip_prefix(label));
        match more {
            Some(more) => {
                out.push_str(if out.ends_with(['.', '?']) { " " } else { ". " });
                out.push_str(more);
            }
            None if out.is_empty() => out.push_str(line),
            None => {
                out.push('\n');
                out.push_str(line);
            }
        }
    }
    ["ERROR:  ", "FATAL:  ", "PANIC:  "].iter().fold(out, |out, severity| out.replace(severity, ""))
}

/// Says this text on standard error.
pub fn complaint(text: impl fmt::Display) {
    let _ = write!(io::stderr().lock(), "{text}");
}

/// Says this text, at once and as it is.
pub fn text(text: impl fmt::Display) {
    if is_over() {
        return;
    }
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => UNREAD.store(true, Ordering::Relaxed),
        Err(error) => {
            LOST.store(true, Ordering::Relaxed);
            complain!("plimsoll: error: could not write to standard output: {error}");
        }
    }
}

/// Whether nothing that is said from now on can be read.
pub fn is_over() -> bool {
    UNREAD.load(Ordering::Relaxed) || LOST.load(Ordering::Relaxed)
}

/// The exit code of a command that ended with this one.
pub fn exit_code(code: u8) -> u8 {
    if LOST.load(Ordering::Relaxed) { code.max(1) } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use protocol::{ClientError, Report, SqlState};

    #[test]
    fn an_error_is_told_once_and_without_the_marks_of_those_who_told_it() {
        let report = Report::fatal(SqlState::CANNOT_CONNECT_NOW, "it starts")
            .with_detail("A while more.")
            .with_hint("Wait.");
        let refused = anyhow!(ClientError::Server(Box::new(report))).context("could not connect");
        assert_eq!(error_text(&refused), "could not connect: it starts. A while more. Wait.");
        let broken = anyhow!(ClientError::Io(io::Error::from_raw_os_error(30))).context("asking");
        assert_eq!(error_text(&broken), "asking: connection to server was lost: Read-only file system");
        assert_eq!(error_text(&anyhow!("no operation\nusage: x")), "no operation\nusage: x");
    }
}
