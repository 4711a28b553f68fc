//! Passwords in texts that go to a log, a view or statistics: what stands behind the word is left out.

use std::borrow::Cow;

/// What stands in a password's place.
const HIDDEN: &str = "********";
const WORD: &str = "password";

/// The text without passwords: literals behind PASSWORD in SQL, values of `password=` in connection strings,
/// and what stands between `user:` and `@` in their URIs.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut taken = 0;
    let mut at = 0;
    while let Some((from, to)) = next_secret(text, at) {
        out.push_str(text.get(taken..from).unwrap_or_default());
        out.push_str(HIDDEN);
        (taken, at) = (to, to);
    }
    if taken == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(taken..).unwrap_or_default());
    Cow::Owned(out)
}

/// The bytes of the next secret from `at` on.
fn next_secret(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    for begin in at..bytes.len() {
        let rest = bytes.get(begin..).unwrap_or_default();
        let found = if rest.get(..WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD.as_bytes())) {
            behind_word(bytes, begin + WORD.len())
        } else if rest.starts_with(b"://") {
            in_uri(bytes, begin + 3)
        } else {
            None
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Past blanks and comments.
fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.first().is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        } else if rest.starts_with(b"/*") {
            at = find(bytes, at + 2, b"*/").map_or(bytes.len(), |end| end + 2);
        } else if rest.starts_with(b"--") {
            at = find(bytes, at + 2, b"\n").unwrap_or(bytes.len());
        } else {
            return at;
        }
    }
}

/// The value behind the word, which ends at `at`.
fn behind_word(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut from = skip_blanks(bytes, at);
    let assigned = bytes.get(from) == Some(&b'=');
    if assigned {
        from = skip_blanks(bytes, from + 1);
    } else if from == at && bytes.get(at) != Some(&b'\'') {
        // A longer word, as password_encryption, or the text's end.
        return None;
    }
    match (bytes.get(from), bytes.get(from + 1), bytes.get(from + 2)) {
        (Some(b'e' | b'E'), Some(b'\''), _) => from += 1,
        (Some(b'u' | b'U'), Some(b'&'), Some(b'\'')) => from += 2,
        _ => {}
    }
    match bytes.get(from)? {
        // In a connection string that is itself a literal, quotes are doubled.
        b'\'' if assigned && bytes.get(from + 1) == Some(&b'\'') => {
            let end = find(bytes, from + 2, b"''").unwrap_or(bytes.len());
            Some((from + 2, end))
        }
        b'\'' => Some((from + 1, end_of_literal(bytes, from + 1))),
        b'$' if !assigned => {
            let tag_end = find(bytes, from + 1, b"$")? + 1;
            let end = find(bytes, tag_end, bytes.get(from..tag_end)?).unwrap_or(bytes.len());
            Some((tag_end, end))
        }
        // Any sign but a blank may be part of it, and a blank behind a backslash.
        _ if assigned => {
            let mut end = from;
            while let Some(byte) = bytes.get(end).filter(|byte| !byte.is_ascii_whitespace()) {
                end += if *byte == b'\\' { 2 } else { 1 };
            }
            let end = end.min(bytes.len());
            (end > from).then_some((from, end))
        }
        _ => None,
    }
}

/// Where a literal ends whose contents begin at `at`.
fn end_of_literal(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return at,
            (b'\\', Some(_)) => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn find(bytes: &[u8], at: usize, what: &[u8]) -> Option<usize> {
    let rest = bytes.get(at..)?;
    rest.windows(what.len()).position(|window| window == what).map(|found| at + found)
}

/// `user:password@` behind the slashes of a URI, which end before `at`.
fn in_uri(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| byte.is_ascii_whitespace() || b"/'\"?".contains(byte));
    let authority = rest.get(..end.unwrap_or(rest.len()))?;
    let host = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority.get(..host)?.iter().position(|byte| *byte == b':')?;
    (colon + 1 < host).then_some((at + colon + 1, at + host))
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
            "password",
            "password=",
            "postgres://me@h/d",
            "é password é",
        ] {
            assert!(matches!(without_secrets(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }
}
