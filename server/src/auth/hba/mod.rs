//! pg_hba.conf: who may connect from where and how (the manual's section "The pg_hba.conf File").

mod lines;
mod network;
mod rule;

pub(crate) use lines::{FileLine, Word, read_lines};
pub(crate) use network::{ClientName, interfaces};
pub(crate) use rule::{ClientCert, Method, Rule};

use std::io;
use std::net::IpAddr;
use std::path::Path;

/// A line that could not be read, of pg_hba.conf or pg_ident.conf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", place(*line, file))]
pub struct HbaError {
    /// What is wrong.
    pub message: String,
    /// The file.
    pub file: String,
    /// The line, counted from 1; 0 if it is about the file as a whole, which the message names.
    pub line: u32,
}

fn place(line: u32, file: &str) -> String {
    if line == 0 { String::new() } else { format!(" (line {line} of configuration file \"{file}\")") }
}

/// A connection, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// The client's address; None on a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// This machine's addresses with the length of their networks' prefixes, asked for `samehost` and
    /// `samenet` alone.
    pub(crate) interfaces: fn() -> Vec<(IpAddr, IpAddr)>,
    /// The role asked for.
    pub(crate) user: &'a str,
    /// The database asked for.
    pub(crate) database: &'a str,
    /// A connection for physical replication, which names no database.
    pub(crate) replication: bool,
    /// TLS protects it.
    pub(crate) encrypted: bool,
    /// The roles that the user is a member of, itself among them; None as long as nobody has asked.
    pub(crate) roles: Option<&'a [String]>,
    /// The name of the client's machine; None as long as nobody has asked.
    pub(crate) name: Option<&'a ClientName>,
}

/// What the rules say of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict<'h> {
    /// This one counts.
    Rule(&'h Rule),
    /// None fits.
    Nothing,
    /// A rule asks what roles the user is a member of.
    NeedsRoles,
    /// A rule asks what the client's machine is called.
    NeedsName,
}

/// A rule asks what is not known of the connection yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Roles,
    Name,
}

/// The rules in order; the first that fits counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hba {
    rules: Vec<Rule>,
}

/// A line of the file as it was read: a rule, or why it is none.
pub(crate) struct HbaLine {
    pub(crate) number: u32,
    pub(crate) rule: Result<Rule, String>,
}

/// The lines of a file that have something to say. `read` reads the files that they name with @.
pub(crate) fn parse_lines(
    text: &str,
    file: &Path,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Vec<HbaLine> {
    let parsed = read_lines(text, file, read).into_iter().map(|FileLine { number, raw, fields }| HbaLine {
        number,
        rule: fields.and_then(|fields| Rule::parse(fields, number, raw)),
    });
    parsed.collect()
}

impl Hba {
    /// Reads the text of the file `file`. All its errors are given, in order.
    pub(crate) fn parse(
        text: &str,
        file: &Path,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<HbaError>> {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        let name = file.display().to_string();
        for HbaLine { number, rule } in parse_lines(text, file, read) {
            match rule {
                Ok(rule) => rules.push(rule),
                Err(message) => errors.push(HbaError { message, file: name.clone(), line: number }),
            }
        }
        if rules.is_empty() && errors.is_empty() {
            let message = "configuration file contains no entries".to_owned();
            let line = u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
            errors.push(HbaError { message, file: name, line });
        }
        if errors.is_empty() { Ok(Self { rules }) } else { Err(errors) }
    }

    /// The rule for a connection.
    pub(crate) fn verdict(&self, candidate: &Candidate<'_>) -> Verdict<'_> {
        for rule in &self.rules {
            match rule.fits(candidate) {
                Ok(true) => return Verdict::Rule(rule),
                Ok(false) => {}
                Err(Missing::Roles) => return Verdict::NeedsRoles,
                Err(Missing::Name) => return Verdict::NeedsName,
            }
        }
        Verdict::Nothing
    }

    /// What an administrator should know of rules that are no errors.
    pub(crate) fn warnings(&self, tls: bool) -> impl Iterator<Item = String> {
        self.rules.iter().filter_map(move |rule| {
            Some(format!("{} (line {} of pg_hba.conf)", rule.warning(tls)?, rule.line))
        })
    }
}

#[cfg(test)]
mod tests;
