//! pg_ctl's command line.

use crate::process::StopMode;
use anyhow::{Result, anyhow, bail};
use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` says.
pub const HELP: &str = "\
pg_ctl makes data directories and starts, stops and controls the servers on them.

Usage:
  pg_ctl init[db]   [-D DATADIR] [-s] [-o OPTIONS] [-p PATH]
  pg_ctl start      [-D DATADIR] [-l FILENAME] [-W] [-t SECS] [-s]
                    [-o OPTIONS] [-p PATH] [-c]
  pg_ctl stop       [-D DATADIR] [-m MODE] [-W] [-t SECS] [-s]
  pg_ctl restart    [-D DATADIR] [-l FILENAME] [-m MODE] [-W] [-t SECS] [-s]
                    [-o OPTIONS] [-p PATH] [-c]
  pg_ctl reload     [-D DATADIR] [-s]
  pg_ctl status     [-D DATADIR]
  pg_ctl promote    [-D DATADIR] [-W] [-t SECS] [-s]
  pg_ctl logrotate  [-D DATADIR] [-s]
  pg_ctl kill       SIGNALNAME PID

Common options:
  -D, --pgdata=DATADIR   the data directory; without it PGDATA is used
  -s, --silent           say nothing but errors
  -t, --timeout=SECS     seconds to wait; without it PGCTLTIMEOUT, or 60
  -w, --wait             wait until it is done (the default)
  -W, --no-wait          do not wait
  -V, --version          say the version
  -?, --help             show this help

Options of start and restart:
  -c, --core-files       let the server leave core files
  -l, --log=FILENAME     append the server's log to this file
  -o, --options=OPTIONS  options of postgres, or with init of initdb
  -p PATH                the program to run as postgres, or as initdb

Options of stop and restart:
  -m, --mode=MODE        smart (when the clients have gone), fast (at once, in
                         good order; the default) or immediate (as by a crash)

Signals of kill:
  ABRT HUP INT KILL QUIT TERM USR1 USR2
";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Init,
    Start,
    Stop,
    Restart,
    Reload,
    Status,
    Promote,
    Logrotate,
    Kill,
}

impl Command {
    fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "init" | "initdb" => Self::Init,
            "start" => Self::Start,
            "stop" => Self::Stop,
            "restart" => Self::Restart,
            "reload" => Self::Reload,
            "status" => Self::Status,
            "promote" => Self::Promote,
            "logrotate" => Self::Logrotate,
            "kill" => Self::Kill,
            other => return Err(misused(format!("unrecognized operation mode \"{other}\""))),
        })
    }
}

/// A command line that was read.
#[derive(Debug)]
pub enum Request {
    Version,
    Help,
    Run(Options),
}

/// A command with its options.
#[derive(Clone, Debug)]
pub struct Options {
    pub command: Command,
    pub data: Option<PathBuf>,
    pub silent: bool,
    pub no_wait: bool,
    /// How long is waited; None: as the environment says.
    pub seconds: Option<u64>,
    pub log: Option<PathBuf>,
    /// In shell syntax.
    pub options: Vec<String>,
    pub program: Option<PathBuf>,
    pub core_files: bool,
    pub mode: StopMode,
    /// Name and process of `kill`.
    pub kill: Option<(String, String)>,
}

/// A mistake in the command line.
pub fn misused(what: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{what}\nTry \"pg_ctl --help\" for more information.")
}

/// The long options: name, letter, whether a value follows.
const LONG: [(&str, char, bool); 11] = [
    ("core-files", 'c', false),
    ("pgdata", 'D', true),
    ("log", 'l', true),
    ("mode", 'm', true),
    ("no-wait", 'W', false),
    ("options", 'o', true),
    ("silent", 's', false),
    ("timeout", 't', true),
    ("wait", 'w', false),
    ("help", '?', false),
    ("version", 'V', false),
];

/// The letter of a long option, of which the beginning is enough where it is one's alone.
fn long_option(name: &str) -> Result<(char, bool)> {
    let exact = LONG.iter().find(|(known, ..)| *known == name);
    let mut begun = LONG.iter().filter(|(known, ..)| known.starts_with(name));
    match (exact, begun.next(), begun.next()) {
        (Some((_, letter, takes)), ..) | (None, Some((_, letter, takes)), None) => Ok((*letter, *takes)),
        (None, Some(_), Some(_)) => Err(misused(format!("option '--{name}' is ambiguous"))),
        (None, None, _) => Err(misused(format!("unrecognized option '--{name}'"))),
    }
}

/// Reads the arguments after the program's name.
pub fn parse(arguments: &[OsString]) -> Result<Request> {
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match words.first().map(String::as_str) {
        Some("-V" | "--version") => return Ok(Request::Version),
        Some("-?" | "--help") => return Ok(Request::Help),
        _ => {}
    }
    let mut read = Reading::default();
    let mut rest = words.into_iter();
    let mut only_words = false;
    while let Some(word) = rest.next() {
        if only_words || !word.starts_with('-') || word == "-" {
            read.words.push(word);
        } else if word == "--" {
            only_words = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            match (long_option(name)?, inline) {
                ((letter, false), None) => read.take(letter, String::new())?,
                ((_, false), Some(_)) => {
                    return Err(misused(format!("option '--{name}' doesn't allow an argument")));
                }
                ((letter, true), inline) => {
                    let missing = || misused(format!("option '--{name}' requires an argument"));
                    read.take(letter, inline.or_else(|| rest.next()).ok_or_else(missing)?)?;
                }
            }
        } else {
            read.letters(word.get(1..).unwrap_or_default(), &mut rest)?;
        }
        match read.asked.take() {
            Some(request) => return Ok(request),
            None => continue,
        }
    }
    read.finish()
}

#[derive(Default)]
struct Reading {
    words: Vec<String>,
    data: Option<PathBuf>,
    silent: bool,
    no_wait: bool,
    seconds: Option<u64>,
    log: Option<PathBuf>,
    options: Vec<String>,
    program: Option<PathBuf>,
    core_files: bool,
    mode: StopMode,
    asked: Option<Request>,
}

impl Reading {
    /// Reads the letters of one word; the value of one of them is the rest of the word, or the next.
    fn letters(&mut self, letters: &str, rest: &mut impl Iterator<Item = String>) -> Result<()> {
        let mut left = letters.chars();
        while let Some(letter) = left.next() {
            match letter {
                'D' | 'l' | 'm' | 'o' | 'p' | 't' => {
                    let inline = Some(left.as_str().to_owned()).filter(|text| !text.is_empty());
                    let missing = || misused(format!("option requires an argument -- '{letter}'"));
                    return self.take(letter, inline.or_else(|| rest.next()).ok_or_else(missing)?);
                }
                _ => self.take(letter, String::new())?,
            }
        }
        Ok(())
    }

    fn take(&mut self, letter: char, value: String) -> Result<()> {
        match letter {
            'c' => self.core_files = true,
            'D' => self.data = Some(value.into()),
            'l' => self.log = Some(value.into()),
            'm' => {
                let unknown = || misused(format!("unrecognized shutdown mode \"{value}\""));
                self.mode = StopMode::parse(&value).ok_or_else(unknown)?;
            }
            'o' => self.options.push(value),
            'p' => self.program = Some(value.into()),
            's' => self.silent = true,
            't' => {
                let wrong = |_| misused(format!("invalid timeout \"{value}\": it is a number of seconds"));
                self.seconds = Some(value.trim().parse().map_err(wrong)?);
            }
            'w' => self.no_wait = false,
            'W' => self.no_wait = true,
            'V' => self.asked = Some(Request::Version),
            '?' => self.asked = Some(Request::Help),
            other => return Err(misused(format!("invalid option -- '{other}'"))),
        }
        Ok(())
    }

    fn finish(self) -> Result<Request> {
        let mut words = self.words.into_iter();
        let word = words.next().ok_or_else(|| misused("no operation specified"))?;
        let command = Command::parse(&word)?;
        let kill = match command {
            Command::Kill => match (words.next(), words.next()) {
                (Some(name), Some(pid)) => Some((name, pid)),
                _ => return Err(misused("missing arguments for kill mode")),
            },
            _ => None,
        };
        if let Some(more) = words.next() {
            return Err(misused(format!("too many command-line arguments (first is \"{more}\")")));
        }
        Ok(Request::Run(Options {
            command,
            data: self.data,
            silent: self.silent,
            no_wait: self.no_wait,
            seconds: self.seconds,
            log: self.log,
            options: self.options,
            program: self.program,
            core_files: self.core_files,
            mode: self.mode,
            kill,
        }))
    }
}

impl Options {
    /// The data directory as it was given.
    pub fn named(&self) -> Result<PathBuf> {
        match self.data.clone().or_else(|| std::env::var_os("PGDATA").map(PathBuf::from)) {
            Some(data) if !data.as_os_str().is_empty() => Ok(data),
            _ => bail!(misused("no database directory specified and environment variable PGDATA unset")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Request> {
        parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn options(words: &[&str]) -> Options {
        match read(words).unwrap() {
            Request::Run(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_may_stand_together_apart_before_and_behind_the_command() {
        let read = options(&["-sWD", "/d", "stop", "-mi", "--time=7", "-t9"]);
        assert_eq!((read.command, read.data), (Command::Stop, Some("/d".into())));
        assert!(read.silent && read.no_wait);
        assert_eq!((read.mode, read.seconds), (StopMode::Immediate, Some(9)));
        let read = options(&["start", "-o", "-p 1", "--options=-F", "-c", "-p/bin/x", "-l", "-", "-W", "-w"]);
        assert_eq!((read.options, read.program), (vec!["-p 1".into(), "-F".into()], Some("/bin/x".into())));
        assert!(read.core_files && !read.no_wait);
        assert_eq!(read.log, Some("-".into()));
        assert_eq!(options(&["kill", "HUP", "7"]).kill, Some(("HUP".into(), "7".into())));
        assert!(matches!(parse(&["--version".into(), "x".into()]), Ok(Request::Version)));
        assert!(matches!(read_request(&["start", "-?"]), Request::Help));
    }

    fn read_request(words: &[&str]) -> Request {
        read(words).unwrap()
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_where_to_look() {
        for (words, what) in [
            (&[][..], "no operation specified"),
            (&["fly"], "unrecognized operation mode \"fly\""),
            (&["start", "stop"], "too many command-line arguments (first is \"stop\")"),
            (&["--no-such"], "unrecognized option '--no-such'"),
            (&["-x", "start"], "invalid option -- 'x'"),
            (&["start", "-D"], "option requires an argument -- 'D'"),
            (&["start", "--pgdata"], "option '--pgdata' requires an argument"),
            (&["start", "--wait=1"], "option '--wait' doesn't allow an argument"),
            (&["stop", "-m", "soft"], "unrecognized shutdown mode \"soft\""),
            (&["stop", "-t", "soon"], "invalid timeout \"soon\""),
            (&["kill", "HUP"], "missing arguments for kill mode"),
            (&["kill", "HUP", "1", "2"], "too many command-line arguments (first is \"2\")"),
        ] {
            let told = read(words).unwrap_err().to_string();
            assert!(told.starts_with(what) && told.contains("pg_ctl --help"), "{words:?}: {told}");
        }
    }
}
