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
