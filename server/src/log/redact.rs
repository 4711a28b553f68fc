//! Passwords in texts that go to a log, a view or statistics: what stands behind the word is left out.
//!
//! A text is read by its tokens, as the parser reads a statement, and so is what a literal or a comment
//! holds: that may be a connection string, or a statement itself.

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

fn at_depth(text: &str, depth: usize) -> Cow<'_, str> {
    if depth > DEPTH_MAX {
        return match text.to_ascii_lowercase().contains(WORD) {
            true => Cow::Owned(HIDDEN.to_owned()),
            false => Cow::Borrowed(text),
        };
    }
    let mut reading = Reading { text, depth, out: String::new(), taken: 0 };
    let mut at = 0;
    while at < text.len() {
        at = reading.token(at).max(at + 1);
    }
    if reading.taken == 0 {
        return Cow::Borrowed(text);
    }
    reading.out.push_str(text.get(reading.taken..).unwrap_or_default());
    Cow::Owned(reading.out)
}

struct Reading<'t> {
    text: &'t str,
    depth: usize,
    /// The text up to `taken`, without secrets.
    out: String,
    taken: usize,
}

impl<'t> Reading<'t> {
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
        if let Some(authority) = rest.strip_prefix("://") {
            return self.uri(at + rest.len() - authority.len());
        }
        let end = at + word_len(rest);
        let is_password = ends_with_word(self.text.get(at..end).unwrap_or_default());
        if is_password {
            self.value(end)
        } else {
            end.max(at + rest.chars().next().map_or(1, char::len_utf8))
        }
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
        if literal.is_name() && ends_with_word(&held) {
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
        let mut from = skip_blanks(self.text, at);
        let assigned = self.rest(from).starts_with('=');
        if assigned {
            from = skip_blanks(self.text, from + 1);
        }
        let rest = self.rest(from);
        match Literal::at(rest).filter(|literal| !literal.is_name()) {
            Some(literal) => {
                let sql_end = from + literal.len;
                let ends_otherwise = assigned && literal.has_quote_behind_backslash();
                // In a connection string the quote would not end it: nothing behind is shown.
                let end = if ends_otherwise { self.text.len() } else { sql_end };
                let hidden = if ends_otherwise { format!("'{HIDDEN}") } else { literal.written(HIDDEN) };
                self.replace(from, end, &hidden);
                end
            }
            // Any sign but a blank may be part of it, and a blank behind a backslash.
            None if assigned => {
                let end = from + unquoted_len(rest);
                if end > from {
                    self.replace(from, end, HIDDEN);
                }
                end
            }
            None => at,
        }
    }

    /// What stands behind the slashes of a URI, which end before `at`:
    /// `user:password@host/database?key=value`.
    fn uri(&mut self, at: usize) -> usize {
        let rest = self.rest(at);
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let uri = rest.get(..end).unwrap_or(rest);
        let authority = uri.split('/').next().unwrap_or(uri);
        if let Some(host) = authority.rfind('@')
            && let Some(colon) = authority.get(..host).and_then(|login| login.find(':'))
            && colon + 1 < host
        {
            self.replace(at + colon + 1, at + host, HIDDEN);
        }
        let mut begin = uri.find('?').map_or(end, |mark| mark + 1);
        for parameter in uri.get(begin..).unwrap_or_default().split('&') {
            if let Some((key, value)) = parameter.split_once('=')
                && ends_with_word(&percent_decoded(key))
                && !value.is_empty()
            {
                let from = begin + key.len() + 1;
                self.replace((at + from).max(self.taken), at + from + value.len(), HIDDEN);
            }
            begin += parameter.len() + 1;
        }
        at + end
    }
}

/// The length of a comment that begins here.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("--") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
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

/// The length of a value without quotes in a connection string.
fn unquoted_len(rest: &str) -> usize {
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => _ = chars.next(),
            c if c.is_whitespace() => return at,
            _ => {}
        }
    }
    rest.len()
}

fn percent_decoded(key: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), key.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
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
            ("password='a\\'b' port=1", "password='********"),
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
        ] {
            assert_eq!(without_secrets(given), hidden);
        }
        let deep = format!("{}password 'S'", "/*".repeat(100_000));
        assert!(!without_secrets(&deep).contains('S'));
    }
}
