//! Asking a person: on the terminal if there is one, else on standard input.

use crate::output::complaint;
use anyhow::{Context, Result, bail};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;

/// Asks for a password, which does not show while it is typed.
///
/// # Errors
/// Nobody answers.
pub fn password(question: &str) -> Result<String> {
    match OpenOptions::new().read(true).write(true).open("/dev/tty") {
        Ok(terminal) => on_terminal(terminal, question),
        Err(_) => {
            complaint(question);
            line(&mut io::stdin().lock())
        }
    }
}

fn on_terminal(mut terminal: File, question: &str) -> Result<String> {
    write!(terminal, "{question}").context("could not write to the terminal")?;
    let before = tcgetattr(terminal.as_fd()).context("could not ask the terminal")?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(terminal.as_fd(), SetArg::TCSAFLUSH, &silent).context("could not silence the terminal")?;
    let answer = line(&mut BufReader::new(&terminal));
    tcsetattr(terminal.as_fd(), SetArg::TCSAFLUSH, &before).context("could not restore the terminal")?;
    // The line end that was typed did not show either.
    writeln!(terminal).context("could not write to the terminal")?;
    answer
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut answer = String::new();
    if from.read_line(&mut answer).context("could not read the answer")? == 0 {
        bail!("no answer was given");
    }
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}
