//! pg_ident.conf: which names outside, of operating systems' users and of certificates, may be which roles
//! (the manual's section "User Name Maps").

use super::hba::{FileLine, HbaError, Word, read_lines};
use sql_types::pattern::{Options, Regex};
use std::io;
use std::path::Path;

/// A line of the file.
#[derive(Clone, Debug)]
pub(crate) struct MapLine {
    pub(crate) map: String,
    /// The name outside, as it was written.
    pub(crate) outside: String,
    /// The role, in which the first `\1` stands for what the expression's first group found.
    pub(crate) role: String,
    /// A name that begins with a slash is an expression.
    expression: Option<Regex>,
}

/// The maps.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdentMaps {
    lines: Vec<MapLine>,
}

/// The lines of a file that have something to say, with their numbers. `read` reads the files that they name
/// with @.
pub(crate) fn parse_lines(
    text: &str,
    file: &Path,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Vec<(u32, Result<MapLine, String>)> {
    let lines = read_lines(text, file, read).into_iter();
    lines.map(|FileLine { number, fields, .. }| (number, fields.and_then(MapLine::parse))).collect()
}

/// A text with a character for each of its bytes: this file is read before there is an encoding.
fn by_bytes(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

/// Why a text is no expression, after PostgreSQL's manner.
fn invalid(text: &str, why: &str) -> String {
    let reason = why.strip_prefix("invalid regular expression: ").unwrap_or(why);
    format!("invalid regular expression \"{text}\": {reason}")
}

impl MapLine {
    fn parse(fields: Vec<Vec<Word>>) -> Result<Self, String> {
        let mut fields = fields.into_iter();
        let mut next = || {
            let field = fields.next().ok_or_else(|| "missing entry at end of line".to_owned())?;
            match <[Word; 1]>::try_from(field) {
                Ok([word]) => Ok(word.text),
                Err(_) => Err("multiple values in ident field".to_owned()),
            }
        };
        let (map, outside, role) = (next()?, next()?, next()?);
        let expression = match outside.strip_prefix('/') {
            Some(text) => {
                let read = Regex::new(&by_bytes(text), Options::default());
                Some(read.map_err(|error| invalid(text, error.message()))?)
            }
            None => None,
        };
        Ok(Self { map, outside, role, expression })
    }

    /// Whether this line lets a name outside be a role. Err for a line that asks for a group that is not
    /// there: as in PostgreSQL, no other line counts then.
    fn lets(&self, map: &str, outside: &str, role: &str) -> Result<bool, String> {
        if self.map != map {
            return Ok(false);
        }
        let Some(expression) = &self.expression else {
            return Ok(self.outside == outside && self.role == role);
        };
        let outside = by_bytes(outside);
        if !expression.is_match(&outside) {
            return Ok(false);
        }
        if !self.role.contains("\\1") {
            return Ok(self.role == role);
        }
        let group = expression.find(&outside).map_err(|error| error.message().to_owned())?;
        match group.filter(|_| expression.has_groups()) {
            Some(group) => Ok(by_bytes(&self.role).replacen("\\1", group, 1) == by_bytes(role)),
            None => Err(format!(
                "regular expression \"{}\" has no subexpressions as requested by backreference in \"{}\"",
                self.outside.trim_start_matches('/'),
                self.role
            )),
        }
    }
}

impl IdentMaps {
    /// Reads the text of the file `file`. All its errors are given, in order.
    pub(crate) fn parse(
        text: &str,
        file: &Path,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<HbaError>> {
        let (mut lines, mut errors) = (Vec::new(), Vec::new());
        for (line, parsed) in parse_lines(text, file, read) {
            match parsed {
                Ok(parsed) => lines.push(parsed),
                Err(message) => errors.push(HbaError { message, file: file.display().to_string(), line }),
            }
        }
        if errors.is_empty() { Ok(Self { lines }) } else { Err(errors) }
    }

    /// Whether a name outside may be a role, by a map or, without one, as the same name. Err says why not,
    /// for the log.
    pub(crate) fn check(&self, map: Option<&str>, outside: &str, role: &str) -> Result<(), String> {
        // An empty name is none, as in PostgreSQL.
        match map.filter(|map| !map.is_empty()) {
            None if outside == role => Ok(()),
            None => Err(format!(
                "provided user name ({role}) and authenticated user name ({outside}) do not match"
            )),
            Some(map) => {
                for line in &self.lines {
                    if line.lets(map, outside, role)? {
                        return Ok(());
                    }
                }
                Err(format!(
                    "no match in usermap \"{map}\" for user \"{role}\" authenticated as \"{outside}\""
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<IdentMaps, Vec<HbaError>> {
        IdentMaps::parse(text, Path::new("ident"), &|_| Err(io::ErrorKind::NotFound.into()))
    }

    #[test]
    fn maps_lead_from_names_outside_to_roles() {
        let maps = parsed(
            "# MAP OUTSIDE ROLE\n\
             m root postgres\n\
             m /^(.*)@example\\.com$ \\1\n\
             m \"/^svc-\" app\n\
             m /^one.$ one\n\
             other ann bob\n\
             roles \"/^(ro|root)\" \\1\n\
             least /^(a+?) \\1\n\
             nothing /^a(b)?$ \\1\n\
             nothing a a\n",
        )
        .unwrap();
        for (map, outside, role, lets) in [
            (Some("m"), "root", "postgres", true),
            (Some("m"), "root", "root", false),
            (Some("m"), "ann@example.com", "ann", true),
            (Some("m"), "ann@example.com", "bob", false),
            (Some("m"), "ann@example.org", "ann", false),
            (Some("m"), "svc-7", "app", true),
            (Some("m"), "onee", "one", true),
            (Some("m"), "oneé", "one", false),
            (Some("m"), "é@example.com", "é", true),
            (Some("m"), "ann", "bob", false),
            (Some("other"), "ann", "bob", true),
            (Some("roles"), "root", "root", true),
            (Some("roles"), "root", "ro", false),
            (Some("least"), "aab", "a", true),
            (Some("least"), "aab", "aa", false),
            (Some("nothing"), "ab", "b", true),
            (Some("nothing"), "a", "a", false),
            (None, "ann", "ann", true),
            (None, "ann", "bob", false),
        ] {
            assert_eq!(maps.check(map, outside, role).is_ok(), lets, "{map:?} {outside} {role}");
        }
        assert!(
            parsed("").unwrap().check(Some("m"), "a", "a").is_err(),
            "a map that is not there lets nobody in"
        );
    }

    #[test]
    fn bad_lines_are_named() {
        for (line, part) in [
            ("m", "missing entry"),
            ("m a", "missing entry"),
            ("m a,b c", "multiple values in ident field"),
            ("m /( x", "invalid regular expression \"(\""),
            ("m /^(a)(?=b) \\1", "look-around are not supported"),
        ] {
            let errors = parsed(&format!("\n{line}\n")).unwrap_err();
            assert!(errors[0].message.contains(part) && errors[0].line == 2, "{line}: {}", errors[0]);
        }
    }
}
