//! The personality of postgres: the server in the foreground, with that program's options.

use anyhow::{Result, anyhow, bail};
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

/// Reads the arguments after the program's name.
pub fn parse(arguments: &[OsString]) -> Result<Request> {
    let mut parsed = ServerArguments::default();
    let words: Vec<String> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
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
            return Err(misused(format!("invalid argument: \"{word}\"")));
        };
        let mut left = letters.chars();
        while let Some(letter) = left.next() {
            match letter {
                'V' => return Ok(Request::Version),
                '?' => return Ok(Request::Help),
                letter if parsed.take_flag(letter) => {}
                letter => {
                    let inline = Some(left.as_str()).filter(|text| !text.is_empty());
                    let value = inline.or_else(|| rest.next().map(String::as_str));
                    parsed.take(letter, value)?;
                    break;
                }
            }
        }
    }
    parsed.words = words;
    Ok(Request::Serve(parsed))
}

impl ServerArguments {
    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.settings.push((name.to_owned(), value.into()));
    }

    /// Takes an option without a value; false if this is none.
    fn take_flag(&mut self, letter: char) -> bool {
        let (name, value) = match letter {
            'F' => ("fsync", "off"),
            'i' => ("listen_addresses", "*"),
            'l' => ("ssl", "on"),
            'e' => ("datestyle", "iso, dmy"),
            'O' => ("allow_system_table_mods", "on"),
            'P' => ("ignore_system_indexes", "on"),
            's' => ("log_statement_stats", "on"),
            _ => return false,
        };
        self.set(name, value);
        true
    }

    /// Takes an option with a value.
    fn take(&mut self, letter: char, value: Option<&str>) -> Result<()> {
        match letter {
            'n' | 'T' => {
                bail!("-{letter} is not supported: this server is one process, no other goes on without it")
            }
            'E' | 'j' | 'r' => bail!("-{letter} is not supported: this server has no single-user mode"),
            'B' | 'c' | 'C' | 'd' | 'D' | 'f' | 'h' | 'k' | 'N' | 'p' | 'S' | 't' | 'W' => {}
            other => return Err(misused(format!("invalid option -- '{other}'"))),
        }
        let missing = || misused(format!("option requires an argument -- '{letter}'"));
        let value = value.ok_or_else(missing)?;
        match letter {
            'D' => self.data = Some(PathBuf::from(value)),
            'C' => self.print = Some(value.to_owned()),
            'c' => self.settings.push(setting(value)?),
            'd' => self.debug(value),
            'f' => self.set(plan_kind(value)?, "off"),
            't' => self.set(statistics(value)?, "on"),
            'p' => self.set("port", value),
            'h' => self.set("listen_addresses", value),
            'k' => self.set("unix_socket_directories", value),
            'B' => self.set("shared_buffers", value),
            'N' => self.set("max_connections", value),
            'S' => self.set("work_mem", value),
            _ => self.set("post_auth_delay", value),
        }
        Ok(())
    }

    /// -d: more is logged from level to level.
    fn debug(&mut self, level: &str) {
        let number: u8 = level.parse().unwrap_or(0);
        let messages = if number == 0 { "notice".to_owned() } else { format!("debug{level}") };
        self.set("log_min_messages", messages);
        if number >= 1 {
            self.set("log_connections", "on");
            self.set("log_disconnections", "on");
        }
        if number >= 2 {
            self.set("log_statement", "all");
        }
    }
}

/// -f: the setting of a kind of plan.
fn plan_kind(letter: &str) -> Result<&'static str> {
    Ok(match letter {
        "s" => "enable_seqscan",
        "i" => "enable_indexscan",
        "o" => "enable_indexonlyscan",
        "b" => "enable_bitmapscan",
        "t" => "enable_tidscan",
        "n" => "enable_nestloop",
        "m" => "enable_mergejoin",
        "h" => "enable_hashjoin",
        other => return Err(misused(format!("invalid argument for option -f: \"{other}\""))),
    })
}

/// -t: the setting of a kind of statistics.
fn statistics(word: &str) -> Result<&'static str> {
    Ok(match word {
        "pa" | "parser" => "log_parser_stats",
        "pl" | "planner" => "log_planner_stats",
        "e" | "ex" | "executor" => "log_executor_stats",
        other => return Err(misused(format!("invalid argument for option -t: \"{other}\""))),
    })
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
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().replace('-', "_"), value.to_owned()))
        }
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
        let parsed = serve(&["-Fip", "7", "-d2", "-fh", "-t", "ex"]);
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
            &["-f", "x"],
            &["-tq"],
            &["--no-such-option"],
        ] {
            let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(parse(&arguments).is_err(), "{words:?}");
        }
    }
}
