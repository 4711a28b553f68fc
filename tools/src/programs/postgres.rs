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

/// The options, for --help and for errors.
pub const USAGE: &str = "usage: postgres [-D DATADIR] [-p PORT] [-h HOST] [-k SOCKETDIR] [-c NAME=VALUE]... [--NAME=VALUE]... \
                     [-B BUFFERS] [-N CONNECTIONS] [-F] [-i] [-C NAME] [-V]";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Serve.
    Serve(ServerArguments),
    /// Print the version.
    Version,
    /// Print the usage.
    Help,
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
                "single" | "boot" | "describe-config" => {
                    bail!("--{long} is not supported: this server has no such mode")
                }
                _ => parsed.settings.push(setting(long)?),
            }
            continue;
        }
        let Some(letter) = word.strip_prefix('-').and_then(|short| short.chars().next()) else {
            bail!("invalid argument: \"{word}\"\n{USAGE}");
        };
        let inline = word.get(1 + letter.len_utf8()..).filter(|text| !text.is_empty());
        let mut value = || {
            inline
                .map(str::to_owned)
                .or_else(|| rest.next().cloned())
                .ok_or_else(|| anyhow!("option requires an argument -- '{letter}'\n{USAGE}"))
        };
        let mut set = |name: &str, value: String| parsed.settings.push((name.to_owned(), value));
        match letter {
            'D' => parsed.data = Some(PathBuf::from(value()?)),
            'c' => parsed.settings.push(setting(&value()?)?),
            'C' => parsed.print = Some(value()?),
            'p' => set("port", value()?),
            'h' => set("listen_addresses", value()?),
            'k' => set("unix_socket_directories", value()?),
            'B' => set("shared_buffers", value()?),
            'N' => set("max_connections", value()?),
            'S' => set("work_mem", value()?),
            'd' => {
                let level = value()?;
                set(
                    "log_min_messages",
                    if level == "0" { "notice".to_owned() } else { format!("debug{level}") },
                );
            }
            'F' => set("fsync", "off".to_owned()),
            'i' => set("listen_addresses", "*".to_owned()),
            'e' => set("datestyle", "euro".to_owned()),
            'V' => return Ok(Request::Version),
            '?' => return Ok(Request::Help),
            other => bail!("invalid option -- '{other}'\n{USAGE}"),
        }
    }
    parsed.words = words;
    Ok(Request::Serve(parsed))
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
    fn what_is_not_an_option_is_refused() {
        for words in [&["x"][..], &["-c", "fsync"], &["-Q"], &["-p"], &["--single"], &["--=x"]] {
            let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(parse(&arguments).is_err(), "{words:?}");
        }
    }
}
