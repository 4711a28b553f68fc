//! Passwords in texts that go to a log, a view or statistics: what stands behind the word is left out.
//!
//! A text is read by its tokens, as the parser reads a statement, and so is what a literal or a comment
//! holds: that may be a connection string, or a statement itself.

mod conninfo;
mod literal;

use literal::Literal;
use std::borrow::Cow;

/// What stands in a password's place.
const HIDDEN: &str = "********";
const WORD: &str = "password";
/// Texts within texts are read so deep; what is deeper and has the word is left out as a whole.
const DEPTH_MAX: usize = 6;

/// The text without passwords: literals behind PASSWORD in SQL, values of `password=` in connection strings,
/// and in their URIs what stands between `user:` and `@` and behind `?password=`.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    at_depth(text, 0)
}

/// A statement of which only names and comments are as they were written: nothing that stands behind the
/// word is a secret there, but names and comments may hold some.
pub(crate) fn without_quoted_secrets(text: &str) -> Cow<'_, str> {
    Reading { text, depth: 0, only_quoted: true, out: String::new(), taken: 0 }.read()
}

fn at_depth(text: &str, depth: usize) -> Cow<'_, str> {
    if conninfo::is_like(text) {
        return conninfo::cleaned(text);
    }
    if depth > DEPTH_MAX {
        return match text.to_ascii_lowercase().contains(WORD) {
            true => Cow::Owned(HIDDEN.to_owned()),
            false => Cow::Borrowed(text),
        };
    }
    Reading { text, depth, only_quoted: false, out: String::new(), taken: 0 }.read()
}

/// What messages have before a value that is quoted as it is, and before and behind a rest of a connection
/// string.
const REFUSED_VALUE: &str = "invalid value for parameter \"";
const UNREAD: (&str, &str) = ("missing \"=\" after \"", "\" in connection info string");

struct Reading<'t> {
    text: &'t str,
    depth: usize,
    /// Only names in quotes and comments are looked at.
    only_quoted: bool,
    /// The text up to `taken`, without secrets.
    out: String,
    taken: usize,
}

impl<'t> Reading<'t> {
    fn read(mut self) -> Cow<'t, str> {
        let mut at = 0;
        while at < self.text.len() {
            at = self.token(at).max(at + 1);
        }
        if self.taken == 0 {
            return Cow::Borrowed(self.text);
        }
        self.out.push_str(self.text.get(self.taken..).unwrap_or_default());
        Cow::Owned(self.out)
    }

    fn rest(&self, at: usize) -> &'t str {
        self.text.get(at..).unwrap_or_default()
    }

    /// Puts something else in the place of these bytes.
    fn replace(&mut self, from: usize, to: usize, by: &str) {
        self.out.push_str(self.text.get(self.taken..from).unwrap_or_default());
        self.out.push_str(by);
        self.taken = to;
    }

    /// Reads what begins at `at`; gives where it ends.
    fn token(&mut self, at: usize) -> usize {
        let rest = self.rest(at);
        if let Some(end) = comment(rest) {
            self.clean(at, at + end);
            return at + end;
        }
        if let Some(literal) = Literal::at(rest) {
            return self.literal(at, &literal);
        }
        if let Some(end) = self.quoted_by_message(at) {
            return end;
        }
        if rest.starts_with("://") {
            return self.uri(at);
        }
        let end = at + word_len(rest);
        let is_password = ends_with_word(self.text.get(at..end).unwrap_or_default());
        if is_password && !self.only_quoted {
            self.value(end)
        } else {
            end.max(at + rest.chars().next().map_or(1, char::len_utf8))
        }
    }

    /// What a message quotes without doubling the quotes in it: it ends at the last one.
    fn quoted_by_message(&mut self, at: usize) -> Option<usize> {
        let rest = self.rest(at);
        if let Some(unread) = rest.strip_prefix(UNREAD.0) {
            let from = at + UNREAD.0.len();
            let to = from + unread.rfind(UNREAD.1).unwrap_or(unread.len());
            self.replace(from, to, HIDDEN);
            return Some(to);
        }
        let name = rest.strip_prefix(REFUSED_VALUE)?;
        let begin = name.find("\": \"")? + 4;
        let end = name.rfind('"').filter(|end| *end >= begin)?;
        let from = at + REFUSED_VALUE.len();
        if let Cow::Owned(clean) = at_depth(name.get(begin..end)?, self.depth + 1) {
            self.replace(from + begin, from + end, &clean);
        }
        Some(from + end)
    }

    /// A URI in a text of other words, which ends at a blank.
    fn uri(&mut self, at: usize) -> usize {
        let rest = self.rest(at);
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        if let Cow::Owned(clean) = conninfo::without_secrets_of_uris(rest.get(..end).unwrap_or(rest)) {
            self.replace(at, at + end, &clean);
        }
        at + end
    }

    /// A part of the text that is a text of its own, as it is.
    fn clean(&mut self, from: usize, to: usize) {
        let inner = self.text.get(from..to).unwrap_or_default();
        // Without its first sign it is no comment any more, and shorter.
        let Some(first) = inner.chars().next() else { return };
        let body = inner.get(first.len_utf8()..).unwrap_or_default();
        if let Cow::Owned(clean) = at_depth(body, self.depth + 1) {
            self.replace(from + first.len_utf8(), to, &clean);
        }
    }

    /// A literal or a name in quotes: what it holds is read as a text.
    fn literal(&mut self, at: usize, literal: &Literal<'_>) -> usize {
        let end = at + literal.len;
        let held = literal.held();
        if literal.is_name() && ends_with_word(&held) && !self.only_quoted {
            return self.value(end);
        }
        let clean = at_depth(&held, self.depth + 1);
        if *clean != *held {
            let written = literal.written(&clean);
            self.replace(at, end, &written);
        }
        end
    }

    /// What stands behind the word, which ends at `at`; gives where that ends.
    fn value(&mut self, at: usize) -> usize {
        let behind = skip_blanks(self.text, at);
        let Some(sign) = assignment(self.rest(behind)) else {
            let literal = Literal::at(self.rest(behind)).filter(|literal| !literal.is_name());
            return literal.map_or(at, |literal| {
                self.replace(behind, behind + literal.len, &literal.written(HIDDEN));
                behind + literal.len
            });
        };
        let mut end = self.assigned(behind + sign);
        // SET takes a list.
        loop {
            let comma = skip_blanks(self.text, end);
            let next = skip_blanks(self.text, comma + 1);
            if !self.rest(comma).starts_with(',')
                || Literal::at(self.rest(next)).is_none_or(|one| one.is_name())
            {
                return end;
            }
            end = self.assigned(next);
        }
    }

    /// A value that begins behind `at`, by the rules of SQL and by those of connection strings, whichever
    /// makes it longer.
    fn assigned(&mut self, at: usize) -> usize {
        let from = skip_blanks(self.text, at);
        let as_conninfo =
            at + self.rest(at).len() - self.rest(at).trim_start_matches(conninfo::is_blank).len();
        let conninfo_end = as_conninfo + conninfo::value_len(self.rest(as_conninfo));
        let literal = Literal::at(self.rest(from));
        if literal.as_ref().is_some_and(Literal::has_quote_behind_backslash) {
            // Where it ends depends on a setting: nothing behind is shown.
            self.replace(from, self.text.len(), &format!("'{HIDDEN}"));
            return self.text.len();
        }
        match literal {
            Some(literal) if from + literal.len >= conninfo_end => {
                self.replace(from, from + literal.len, &literal.written(HIDDEN));
                from + literal.len
            }
            _ => {
                let begin = from.min(as_conninfo);
                let end = conninfo_end.max(from + self.unquoted_len(from));
                if end > begin {
                    self.replace(begin, end, HIDDEN);
                }
                end
            }
        }
    }

    /// The length of a value up to the next blank that no literal in it holds.
    fn unquoted_len(&self, from: usize) -> usize {
        let rest = self.rest(from);
        let mut at = 0;
        while let Some(c) = rest.get(at..).and_then(|rest| rest.chars().next()) {
            let literal =
                Literal::at(rest.get(at..).unwrap_or_default()).filter(|one| at == 0 || !one.is_name());
            match literal {
                Some(literal) => at += literal.len,
                None if conninfo::is_blank(c) => break,
                None => at += c.len_utf8(),
            }
        }
        at
    }
}

/// The length of `=` or TO, which gives a setting its value.
fn assignment(rest: &str) -> Option<usize> {
    if rest.starts_with('=') {
        return Some(1);
    }
    let is_to = rest.get(..word_len(rest)).is_some_and(|word| word.eq_ignore_ascii_case("to"));
    is_to.then_some(2)
}

/// The length of a comment that begins here.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("--") {
        return Some(rest.find(['\n', '\r']).unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (2, 1_usize);
    while depth > 0 {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (at, depth) = (at + 2, depth + 1),
            Some(b"*/") => (at, depth) = (at + 2, depth - 1),
            Some(_) => at += 1,
            None => return Some(rest.len()),
        }
    }
    Some(at)
}

/// Past blanks and comments.
fn skip_blanks(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        match comment(trimmed) {
            Some(len) => at += len,
            None => return at,
        }
    }
}

fn is_word_sign(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

/// The length of the word that begins here, which may be none.
fn word_len(rest: &str) -> usize {
    if rest.starts_with('$') { 0 } else { rest.find(|c: char| !is_word_sign(c)).unwrap_or(rest.len()) }
}

/// Whether a name is that of a password: `password` itself, or `sslpassword`.
fn ends_with_word(name: &str) -> bool {
    let from = name.len().checked_sub(WORD.len());
    from.and_then(|from| name.get(from..)).is_some_and(|end| end.eq_ignore_ascii_case(WORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_all_else_stays() {
        for (given, hidden) in [
            ("CREATE ROLE a PASSWORD 'it''s' LOGIN", "CREATE ROLE a PASSWORD '********' LOGIN"),
            ("alter user a password\n E'x\\'y'", "alter user a password\n E'********'"),
            ("CREATE USER a ENCRYPTED PASSWORD $x$s$x$;", "CREATE USER a ENCRYPTED PASSWORD $x$********$x$;"),
            ("SET c = 'host=a password=s port=1'", "SET c = 'host=a password=******** port=1'"),
            ("SET c = 'password = ''s s'' port=1'", "SET c = 'password = ''********'' port=1'"),
            ("host=a PASSWORD='s s' x=1", "host=a PASSWORD='********' x=1"),
            ("sslpassword=s&password=t", "sslpassword=********"),
            ("password=a\"b&c)d;e port=1", "password=******** port=1"),
            ("password=a\\ b port=1", "password=******** port=1"),
            ("password='a\\'b' port=1", "password='********' port=1"),
            ("PASSWORD /* new */ 's'", "PASSWORD /* new */ '********'"),
            ("PASSWORD -- new\n 's'", "PASSWORD -- new\n '********'"),
            ("PASSWORD U&'s'", "PASSWORD U&'********'"),
            ("postgres://me:s@h/d and http://h:1/", "postgres://me:********@h/d and http://h:1/"),
            ("ALTER ROLE a PASSWORD 's", "ALTER ROLE a PASSWORD '********"),
        ] {
            assert_eq!(without_secrets(given), hidden);
        }
        for plain in [
            "ALTER ROLE a PASSWORD NULL",
            "SET password_encryption = 'x'",
            "SELECT password FROM users",
            "SELECT 'it''s', E'\\n', \"a\"\"b\", $1, $x$ $y$ $x$ /* ' */ -- '",
            "password",
            "password=",
            "postgres://me@h/d",
            "é password é 'ü",
            "/*",
            "'",
            "U&'",
            "$a$",
        ] {
            assert!(matches!(without_secrets(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[test]
    fn passwords_are_found_where_the_parser_finds_them() {
        for (given, hidden) in [
            ("PASSWORD 'a'\n 'S' LOGIN", "PASSWORD '********' LOGIN"),
            ("PASSWORD 'a' -- x\n 'S'", "PASSWORD '********'"),
            ("PASSWORD E'a'\n'S\\'S'", "PASSWORD E'********'"),
            ("PASSWORD 'a' 'b'", "PASSWORD '********' 'b'"),
            ("/* password 'x */ PASSWORD 'S'", "/* password '******** PASSWORD '********'"),
            ("PASSWORD /* /* ' */ ' */ 'S'", "PASSWORD /* /* ' */ ' */ '********'"),
            (
                "SET c = 'postgresql://u@h/d?pass%77ord=S&port=1'",
                "SET c = 'postgresql://u@h/d?pass%77ord=********&port=1'",
            ),
            ("SET c = E'host=x pass\\x77ord=S'", "SET c = E'host=x password=********'"),
            ("SET c = U&'pass\\0077ord=S'", "SET c = U&'password=********'"),
            ("SET c = U&'pass!0077ord=S' UESCAPE '!'", "SET c = U&'password=********'"),
            ("$1 = 'alter role x password ''S'''", "$1 = 'alter role x password ''********'''"),
            ("$1 = 'password=S', $2 = 'b'", "$1 = 'password=********', $2 = 'b'"),
            (
                "DO 'BEGIN ALTER ROLE x PASSWORD ''S''; END'",
                "DO 'BEGIN ALTER ROLE x PASSWORD ''********''; END'",
            ),
            (
                "DO $$ EXECUTE 'ALTER ROLE x PASSWORD ''S''' $$",
                "DO $$ EXECUTE 'ALTER ROLE x PASSWORD ''********''' $$",
            ),
            ("value \"password=S\" is", "value \"password=********\" is"),
            ("it's password=S", "it's password=********"),
            ("OPTIONS (\"password\" 'S')", "OPTIONS (\"password\" '********')"),
            ("-- it's\ralter role r password 'S'", "-- it's\ralter role r password '********'"),
            ("PASSWORD -- new\r'S'", "PASSWORD -- new\r'********'"),
            ("PASSWORD 'a' -- x\r'S'", "PASSWORD '********'"),
            ("SET my.password TO 'S'", "SET my.password TO '********'"),
            ("SET \"my.password\" TO 'S', 'S'", "SET \"my.password\" TO '********', '********'"),
            ("ALTER ROLE r SET my.password TO S", "ALTER ROLE r SET my.password TO ********"),
            ("SET my.password = $$S S$$", "SET my.password = $$********$$"),
            (
                "SET c = 'application_name=it''s password=''S S'''",
                "SET c = 'application_name=it''s password=''********'''",
            ),
            ("UPDATE t SET password=lower('S S') WHERE b", "UPDATE t SET password=******** WHERE b"),
            (
                "invalid value for parameter \"plimsoll.peers\": \"host=x password=a\"S bogus\"",
                "invalid value for parameter \"plimsoll.peers\": \"host=x password=******** ********\"",
            ),
            (
                "missing \"=\" after \"S\"S\" in connection info string",
                "missing \"=\" after \"********\" in connection info string",
            ),
        ] {
            assert_eq!(without_secrets(given), hidden);
        }
        for (given, hidden) in [
            ("select $1 as \"password=S\"", "select $1 as \"password=********\""),
            ("select /* password 'S' */ password = $1", "select /* password '********' */ password = $1"),
        ] {
            assert_eq!(without_quoted_secrets(given), hidden);
        }
        let deep = format!("{}password 'S'", "/*".repeat(100_000));
        assert!(!without_secrets(&deep).contains('S'));
    }
}
