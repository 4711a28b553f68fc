//! Connection strings, as libpq reads them: `key=value ...`, or URIs. plimsoll.peers has several, with
//! semicolons between them.

use super::{HIDDEN, WORD, ends_with_word};
use protocol::conninfo::is_blank;
use std::borrow::Cow;

/// Whether a text begins as a connection string does. No statement of SQL does.
pub(super) fn is_like(text: &str) -> bool {
    let text = text.trim_start_matches(is_blank);
    let key = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let behind = text.get(key..).unwrap_or_default();
    key > 0 && (behind.starts_with("://") || behind.trim_start_matches(is_blank).starts_with('='))
}

/// A connection string without its secrets.
pub(super) fn cleaned(text: &str) -> Cow<'_, str> {
    match without_secrets_of_uris(text) {
        Cow::Borrowed(text) if begins_as_uri(text) => Cow::Borrowed(text),
        Cow::Owned(text) if begins_as_uri(&text) => Cow::Owned(text),
        Cow::Borrowed(text) => without_values(text).map_or(Cow::Borrowed(text), Cow::Owned),
        Cow::Owned(text) => Cow::Owned(without_values(&text).unwrap_or(text)),
    }
}

fn begins_as_uri(text: &str) -> bool {
    let sign = text.find(['=', ':']).unwrap_or(text.len());
    text.get(sign..).is_some_and(|behind| behind.starts_with("://"))
}

/// Hides the values of passwords among `key=value` pairs; None if there are none. What cannot be read behind
/// a password may belong to it.
fn without_values(text: &str) -> Option<String> {
    let (mut out, mut at, mut found) = (String::new(), 0, false);
    let rest_of = |at: usize| text.get(at..).unwrap_or_default();
    loop {
        let rest = rest_of(at);
        let begin = at + rest.len() - rest.trim_start_matches(is_blank).len();
        out.push_str(text.get(at..begin).unwrap_or_default());
        let pair = rest_of(begin);
        if pair.is_empty() {
            break;
        }
        let Some((key_len, value_at)) = key(pair) else {
            let has_secret = found || pair.to_ascii_lowercase().contains(WORD);
            out.push_str(if has_secret { HIDDEN } else { pair });
            found |= has_secret;
            break;
        };
        let from = begin + value_at;
        let len = value_len(rest_of(from));
        out.push_str(text.get(begin..from).unwrap_or_default());
        if ends_with_word(pair.get(..key_len).unwrap_or_default()) {
            found |= len > 0;
            out.push_str(&hidden(rest_of(from), len));
        } else {
            let value = text.get(from..from + len).unwrap_or_default();
            // A quote that is not closed may stand for itself.
            let open = value.starts_with('\'') && (len == 1 || !value.ends_with('\''));
            let has_secret = open && value.to_ascii_lowercase().contains(WORD);
            found |= has_secret;
            out.push_str(if has_secret { HIDDEN } else { value });
        }
        at = from + len;
    }
    found.then_some(out)
}

/// The length of a key, and where its value begins; None where no `=` follows.
fn key(pair: &str) -> Option<(usize, usize)> {
    let len = pair.find(|c: char| c == '=' || is_blank(c))?;
    let behind = pair.get(len..)?;
    let assigned = behind.trim_start_matches(is_blank).strip_prefix('=')?;
    Some((len, pair.len() - assigned.trim_start_matches(is_blank).len()))
}

/// The length of the value that begins here. A quote that is not closed goes to the end.
pub(super) fn value_len(rest: &str) -> usize {
    let quoted = rest.starts_with('\'');
    let mut chars = rest.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => _ = chars.next(),
            '\'' if quoted => return at + 1,
            c if !quoted && is_blank(c) => return at,
            _ => {}
        }
    }
    rest.len()
}

/// What is shown for a value.
fn hidden(value: &str, len: usize) -> String {
    let value = value.get(..len).unwrap_or_default();
    match (value.is_empty(), value.starts_with('\''), value.len() > 1 && value.ends_with('\'')) {
        (true, ..) => String::new(),
        (_, true, true) => format!("'{HIDDEN}'"),
        (_, true, false) => format!("'{HIDDEN}"),
        _ => HIDDEN.to_owned(),
    }
}

/// The same text with what stands between `user:` and `@`, and behind `?password=`, hidden in each URI. A URI
/// ends where its text ends, whatever it holds.
pub(super) fn without_secrets_of_uris(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find("://") else { return Cow::Borrowed(text) };
    let last_host = text.rfind('@');
    let (mut out, mut taken, mut at) = (String::new(), 0, first);
    let mut hide = |from: usize, to: usize| {
        if to > from && from >= taken {
            out.push_str(text.get(taken..from).unwrap_or_default());
            out.push_str(HIDDEN);
            taken = to;
        }
    };
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(behind) = rest.strip_prefix("://") {
            let begin = text.len() - behind.len();
            at = begin;
            let last_host = last_host.and_then(|host| host.checked_sub(begin));
            if let Some((from, to)) = password_of(behind, last_host) {
                hide(begin + from, begin + to);
                at = begin + to;
            }
        } else if let Some((from, len)) = parameter(rest) {
            hide(at + from, at + from + len);
            at += from + len;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    if taken == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(taken..).unwrap_or_default());
    Cow::Owned(out)
}

/// Where the password stands in what follows the slashes of a URI. `last_host`: where the last `@` is in
/// that.
fn password_of(behind: &str, last_host: Option<usize>) -> Option<(usize, usize)> {
    let authority = behind.split('/').next()?;
    let colon = authority.find(':')?;
    let port = authority.get(colon + 1..)?;
    // A slash belongs to no password, and is written in one all the same.
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let host = authority.rfind('@').or(last_host.filter(|_| !is_port))?;
    (colon < host).then_some((colon + 1, host))
}

/// A parameter `?key=value` that is a password: where its value begins, and its length.
fn parameter(rest: &str) -> Option<(usize, usize)> {
    let behind = rest.strip_prefix(['?', '&'])?;
    let (key, value) = behind.split_at(behind.find(['=', '?', '&'])?);
    let value = value.strip_prefix('=')?;
    let is_secret = ends_with_word(&percent_decoded(key));
    is_secret.then(|| (rest.len() - value.len(), value.find('&').unwrap_or(value.len())))
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
    fn values_end_where_libpq_ends_them() {
        for (given, shown) in [
            ("host=x password=--S", "host=x password=********"),
            ("host=x password=/*S*/ port=1", "host=x password=******** port=1"),
            ("host=x password=$$a$$S port=1", "host=x password=******** port=1"),
            ("host=x password=e'a'S", "host=x password=********"),
            ("password=a\u{a0}S\u{3000}S port=1", "password=******** port=1"),
            ("password=a\\ S port=1", "password=******** port=1"),
            ("password = 'a\\'S S' port=1", "password = '********' port=1"),
            ("application_name=it's password='S S'", "application_name=it's password='********'"),
            ("password='S", "password='********"),
            ("password=a\"S S", "password=******** ********"),
            ("host=x;postgresql://v:S S@h", "host=x;postgresql://v:********@h"),
            ("password=S;host=y password=S", "password=******** password=********"),
            ("user=u application_name='it password=S", "user=u application_name=********"),
            ("x=1; alter role a password 'S'", "x=1; ********"),
        ] {
            assert!(is_like(given), "{given}");
            assert_eq!(cleaned(given), shown);
        }
        for plain in ["host=a port=1", "password=", "postgresql://u@h/d?x=1", "a=b c"] {
            assert!(matches!(cleaned(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
        assert!(!is_like("alter role a password 'S'") && !is_like("$1 = 'a'") && !is_like(""));
    }

    #[test]
    fn a_uri_ends_with_its_text() {
        for (given, shown) in [
            ("postgresql://u:S S@h/d", "postgresql://u:********@h/d"),
            ("postgresql://u:/*S@h", "postgresql://u:********@h"),
            ("postgresql://h:5432/d?user=a@b", "postgresql://h:5432/d?user=a@b"),
            ("postgresql://u:--S@h", "postgresql://u:********@h"),
            ("postgresql://u:S@h;postgresql://v:S@h", "postgresql://u:********@h;postgresql://v:********@h"),
            ("postgresql://u@h/d?password=S S", "postgresql://u@h/d?password=********"),
            ("postgresql://h?pass%77ord=S&x=1", "postgresql://h?pass%77ord=********&x=1"),
            (
                "postgresql://u:S@h/d?x=1;postgresql://h?password=S",
                "postgresql://u:********@h/d?x=1;postgresql://h?password=********",
            ),
        ] {
            assert_eq!(cleaned(given), shown);
        }
    }
}
