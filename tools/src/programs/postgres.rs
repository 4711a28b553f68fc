//! The personality of postgres: the server in the foreground, with that program's options.

use anyhow::{Result, anyhow, bail};
use settings::{SwitchedBy, switch};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line of a server asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ServerArguments {
    /// The data directory (-D, or PGDATA).
    pub data: Option<PathBuf>,
    /// Settings in the order given; later ones win.
    pub settings: Vec<(String, String)>,
    /// -C: print this setting and exit.
    pub print: Option<String>,
    /// The words as given, for postmaster.opts.
    pub words: Vec<String>,
}

/// What `--help` says.
pub const HELP: &str = "\
postgres runs a server on a data directory, in the foreground.

Usage:
  postgres [OPTION]...

Options:
  -B NBUFFERS        shared_buffers
  -c NAME=VALUE      set a setting
  -C NAME            print the value of a setting and exit
  -d 1-5             log messages of this debugging level
  -D DATADIR         the data directory; without it PGDATA is used
  -e                 read dates in the European order (DMY)
  -F                 turn fsync off
  -h HOSTNAME        listen_addresses
  -i                 listen on all addresses
  -k DIRECTORY       unix_socket_directories
  -l                 turn ssl on
  -N MAX-CONNECT     max_connections
  -O                 turn allow_system_table_mods on
  -p PORT            port
  -P                 turn ignore_system_indexes on
  -s                 turn log_statement_stats on
  -S WORK-MEM        work_mem
  -f s|i|o|b|t|n|m|h turn a kind of plan off
  -t pa|pl|ex        turn log_parser_stats, log_planner_stats or log_executor_stats on
  -V, --version      say the version
  -W NUM             post_auth_delay
  --NAME=VALUE       set a setting
  --describe-config  print all settings and exit
  -?, --help         show this help

There is no single-user mode and no bootstrapping mode.
";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Serve.
    Serve(ServerArguments),
    /// Print the version.
    Version,
    /// Print the usage.
    Help,
    /// Print a line a setting.
    DescribeConfig,
}

/// A mistake in the command line.
fn misused(what: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{what}\nTry \"postgres --help\" for more information.")
}

fn no_argument(word: &str) -> anyhow::Error {
    misused(format!("invalid argument: \"{word}\""))
}

/// Reads the arguments after the program's name.
pub fn parse(arguments: &[OsString]) -> Result<Request> {
    let mut parsed = ServerArguments::default();
    let words: Vec<String> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            match rest.next() {
                Some(word) => return Err(no_argument(word)),
                None => break,
            }
        }
        if let Some(long) = word.strip_prefix("--") {
            match long {
                "version" => return Ok(Request::Version),
                "help" => return Ok(Request::Help),
                "describe-config" => return Ok(Request::DescribeConfig),
                "single" | "boot" | "check" | "forkboot" => {
                    bail!("--{long} is not supported: this server has no such mode")
                }
                _ => parsed.settings.push(long_setting(long)?),
            }
            continue;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return Err(no_argument(word));
        };
        let mut left = letters.chars();
        while let Some(letter) = left.next() {
            match letter {
                'V' => return Ok(Request::Version),
                '?' => return Ok(Request::Help),
                letter => {
                    let inline = Some(left.as_str()).filter(|text| !text.is_empty());
                    let next = rest.as_slice().first().map(String::as_str);
                    if parsed.take(letter, inline.or(next))? {
                        if inline.is_none() {
                            rest.next();
                        }
                        break;
                    }
                }
            }
        }
    }
    parsed.words = words;
    Ok(Request::Serve(parsed))
}

impl ServerArguments {
    /// Takes an option with or without a value; whether what follows the letter, or is the next word, was its
    /// value. `value` is None if there is neither.
    fn take(&mut self, letter: char, value: Option<&str>) -> Result<bool> {
        match letter {
            'n' | 'T' => {
                bail!("-{letter} is not supported: this server is one process, no other goes on without it")
            }
            'b' => bail!("-{letter} is not supported: this server has no mode for upgrades"),
            'E' | 'j' | 'r' => bail!("-{letter} is not supported: this server has no single-user mode"),
            _ => {}
        }
        let missing = || misused(format!("option requires an argument -- '{letter}'"));
        match letter {
            'D' => self.data = Some(PathBuf::from(value.ok_or_else(missing)?)),
            'C' => self.print = Some(value.ok_or_else(missing)?.to_owned()),
            'c' => self.settings.push(setting(value.ok_or_else(missing)?)?),
            letter => {
                let no_switch = || misused(format!("invalid option -- '{letter}'"));
                let switch = switch(letter).ok_or_else(no_switch)?;
                let value = if switch.takes_value() { value.ok_or_else(missing)? } else { "" };
                let no_value = || misused(format!("invalid argument for option -{letter}: \"{value}\""));
                self.settings.extend(switch.settings(value, SwitchedBy::Server).ok_or_else(no_value)?);
                return Ok(switch.takes_value());
            }
        }
        Ok(true)
    }
}

/// Reads the rest of `--name=value`.
fn long_setting(text: &str) -> Result<(String, String)> {
    match setting(text) {
        Ok(setting) => Ok(setting),
        Err(_) => Err(misused(format!("--{text} requires a value"))),
    }
}

/// Reads `name=value`; dashes in the name stand for underscores, as PostgreSQL allows.
pub fn setting(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.replace('-', "_"), value.to_owned())),
        _ => bail!("-c {text} requires a value, as in -c name=value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(words: &[&str]) -> ServerArguments {
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        match parse(&arguments).unwrap() {
            Request::Serve(parsed) => parsed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_are_taken_joined_and_apart_and_names_with_dashes() {
        let parsed = serve(&["-D", "/d", "-p5433", "-c", "fsync=off", "--cluster-name=one two", "-kx", "-F"]);
        assert_eq!(parsed.data, Some(PathBuf::from("/d")));
        let expected = [
            ("port", "5433"),
            ("fsync", "off"),
            ("cluster_name", "one two"),
            ("unix_socket_directories", "x"),
            ("fsync", "off"),
        ];
        assert_eq!(parsed.settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn letters_may_stand_together_and_some_stand_for_several_settings() {
        let parsed = serve(&["-Fip", "7", "-d2", "-fh", "-t", "ex", "--"]);
        let expected = [
            ("fsync", "off"),
            ("listen_addresses", "*"),
            ("port", "7"),
            ("log_min_messages", "debug2"),
            ("log_connections", "on"),
            ("log_disconnections", "on"),
            ("log_statement", "all"),
            ("enable_hashjoin", "off"),
            ("log_executor_stats", "on"),
        ];
        assert_eq!(parsed.settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_not_an_option_is_refused() {
        for words in [
            &["x"][..],
            &["-c", "fsync"],
            &["-Q"],
            &["-p"],
            &["--single"],
            &["--=x"],
            &["-"],
            &["-FT"],
            &["-Fb"],
            &["-F", "--", "-F"],
            &["-f", "x"],
            &["-tq"],
            &["--no-such-option"],
        ] {
            let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(parse(&arguments).is_err(), "{words:?}");
        }
    }
}
