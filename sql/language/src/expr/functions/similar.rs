//! Regular expressions of the SQL standard (SIMILAR TO), which become those of `~`.

use super::patterns::plain;
use super::{Table, text};
use sql_interface::{Result, SqlError};
use sql_types::Datum;
use sql_types::TypeId::Text;
use sqlstate::SqlState;

/// Between a part of a match that is not asked for and the one that is: what is before takes the least.
const BEFORE_WANTED: &str = "){1,1}?(";

/// Behind the part that is asked for.
const BEHIND_WANTED: &str = "){1,1}(?:";

/// The one character of an escape string; None for the empty one, which turns escaping off.
fn escape_character(escape: &str) -> Result<Option<char>> {
    let mut characters = escape.chars();
    match (characters.next(), characters.next()) {
        (first, None) => Ok(first),
        _ => Err(SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .with_hint("Escape string must be empty or one character.")),
    }
}

/// An expression of `~` that matches all of a text where the standard's does. Escaped double quotes enclose
/// the part of it that substring is to give: its only group.
fn similar(pattern: &str, escape: &str) -> Result<String> {
    let escape = escape_character(escape)?;
    let mut out = String::with_capacity(pattern.len() * 2 + 8);
    out.push_str("^(?:");
    let (mut escaped, mut in_brackets, mut separators) = (false, false, 0);
    for c in pattern.chars() {
        if escaped {
            escaped = false;
            if c != '"' || in_brackets {
                out.extend(['\\', c]);
                continue;
            }
            out.push_str(match separators {
                0 => BEFORE_WANTED,
                1 => BEHIND_WANTED,
                _ => return Err(too_many_separators()),
            });
            separators += 1;
        } else if Some(c) == escape {
            escaped = true;
        } else if in_brackets {
            // In brackets a backslash is plain here, and escapes there.
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
            in_brackets = c != ']';
        } else {
            match c {
                '%' => out.push_str(".*"),
                '_' => out.push('.'),
                '(' => out.push_str("(?:"),
                '\\' | '.' | '^' | '$' => out.extend(['\\', c]),
                _ => out.push(c),
            }
            in_brackets = c == '[';
        }
    }
    out.push_str(")$");
    Ok(out)
}

fn too_many_separators() -> SqlError {
    let message = "SQL regular expression may not contain more than two escape-double-quote separators";
    SqlError::new(SqlState::INVALID_USE_OF_ESCAPE_CHARACTER, message)
}

pub(super) fn register(table: &mut Table) {
    table.add("similar_to_escape", &[Text], Text, |a, _| Ok(Datum::from(similar(text(a, 0)?, "\\")?)));
    table.add("similar_to_escape", &[Text, Text], Text, |a, _| {
        Ok(Datum::from(similar(text(a, 0)?, text(a, 1)?)?))
    });
    let lenient = table.add("similar_escape", &[Text, Text], Text, |a, _| match a {
        [Datum::Null, ..] => Ok(Datum::Null),
        [_, Datum::Null] => Ok(Datum::from(similar(text(a, 0)?, "\\")?)),
        _ => Ok(Datum::from(similar(text(a, 0)?, text(a, 1)?)?)),
    });
    lenient.lenient();
    table.add("substring", &[Text, Text, Text], Text, |a, _| {
        let expression = similar(text(a, 1)?, text(a, 2)?)?;
        Ok(plain(&expression)?.find(text(a, 0)?)?.map(Datum::text).unwrap_or_default())
    });
}

#[cfg(test)]
mod tests {
    use super::similar;

    /// As `SELECT similar_to_escape(pattern, escape)` gives them in PostgreSQL 15.
    const PATTERNS: [(&str, &str, &str); 9] = [
        ("a%_", "\\", "^(?:a.*.)$"),
        ("a#\"b#\"c", "#", "^(?:a){1,1}?(b){1,1}(?:c)$"),
        ("a#\"b", "#", "^(?:a){1,1}?(b)$"),
        ("a\\%b[a\\]%]c", "\\", "^(?:a\\%b[a\\]%]c)$"),
        ("a.b^c$d|e*f?{2}(g)", "\\", "^(?:a\\.b\\^c\\$d|e*f?{2}(?:g))$"),
        ("a[#]b]%", "#", "^(?:a[\\]b].*)$"),
        ("a[#\"]\\", "#", "^(?:a[\\\"]\\\\)$"),
        ("a#%[%_\\]", "", "^(?:a#.*[%_\\\\])$"),
        ("a#", "#", "^(?:a)$"),
    ];

    #[test]
    fn expressions_of_the_standard_become_those_of_the_match_operator() {
        for (pattern, escape, expected) in PATTERNS {
            assert_eq!(similar(pattern, escape).expect("is well formed"), expected, "{pattern} {escape}");
        }
        let code =
            |pattern, escape| similar(pattern, escape).expect_err("is refused").code().as_str().to_owned();
        assert_eq!(code("a#\"b#\"c#\"", "#"), "2200C");
        assert_eq!(code("a", "##"), "22025");
    }
}
