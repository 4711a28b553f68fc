//! Names and literals with escapes for characters: `U&"d\0061t"`, and `U&'d!0061t' UESCAPE '!'`.
//!
//! The parser knows the literals without UESCAPE and without halves of characters, and cuts such a name in
//! three: `U`, `&` and `"d\0061t"`.

use super::Source;
use super::literals::Escaped;
use sql_interface::{Result, SqlError};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

/// What stands before the characters: `U&"`.
const OPENING: usize = 3;

/// The tokens with these names and literals in one token each, and their escapes read.
pub(super) fn read(source: &Source, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let is_literal = |token: &TokenWithSpan| matches!(token.token, Token::UnicodeStringLiteral(_));
    let are_name = |three: &[TokenWithSpan]| matches!(three, [u, and, name] if is_name(u, and, name));
    if !tokens.iter().any(is_literal) && !tokens.windows(3).any(are_name) {
        return Ok(tokens);
    }
    let mut made = Vec::with_capacity(tokens.len());
    let mut places = source.places();
    let mut rest = tokens.as_slice();
    while let Some(first) = rest.first() {
        let (quote, parts) = match rest {
            [TokenWithSpan { token: Token::UnicodeStringLiteral(_), .. }, ..] => ('\'', 1),
            [u, and, name, ..] if is_name(u, and, name) => ('"', 3),
            _ => {
                made.push(first.clone());
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
        };
        let (written, behind) = rest.split_at(parts);
        let (escape, taken) = escape_of(source, behind)?;
        let span = Span::new(first.span.start, written.last().unwrap_or(first).span.end);
        let text = places.slice(span);
        let inner: Vec<char> = match quote {
            '"' => {
                let inner = text.get(OPENING..text.len().saturating_sub(1));
                inner.unwrap_or_default().chars().collect()
            }
            _ => Escaped::at(text).map_or_else(Vec::new, |literal| literal.inner().chars().collect()),
        };
        let text = decoded(&inner, quote, escape).map_err(|(at, problem)| {
            let start = source.position(span.start);
            let offset = u32::try_from(OPENING + at).unwrap_or(0);
            problem.error().at(start.map(|start| start.saturating_add(offset)))
        })?;
        let token = if quote == '"' {
            Token::Word(Word { value: text, quote_style: Some('"'), keyword: Keyword::NoKeyword })
        } else {
            Token::UnicodeStringLiteral(text)
        };
        made.push(TokenWithSpan::new(token, span));
        rest = behind.get(taken..).unwrap_or_default();
    }
    Ok(made)
}

/// Whether these are the three pieces of a name.
fn is_name(u: &TokenWithSpan, and: &TokenWithSpan, name: &TokenWithSpan) -> bool {
    let begins = match &u.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case("u"),
        _ => false,
    };
    begins
        && and.token == Token::Ampersand
        && u.span.end == and.span.start
        && and.span.end == name.span.start
        && matches!(&name.token, Token::Word(word) if word.quote_style == Some('"'))
}

/// The escape that UESCAPE names, or a backslash, and how many tokens say so.
fn escape_of(source: &Source, behind: &[TokenWithSpan]) -> Result<(char, usize)> {
    let [TokenWithSpan { token: Token::Word(word), .. }, named, ..] = behind else { return Ok(('\\', 0)) };
    if word.quote_style.is_some() || !word.value.eq_ignore_ascii_case("uescape") {
        return Ok(('\\', 0));
    }
    let text = match &named.token {
        Token::SingleQuotedString(text) => text.as_str(),
        Token::EscapedStringLiteral(text) => text.as_str(),
        Token::DollarQuotedString(quoted) => quoted.value.as_str(),
        // PostgreSQL's grammar tells of it.
        _ => return Ok(('\\', 0)),
    };
    let mut characters = text.chars();
    let fits = |c: char| c.is_ascii() && !c.is_ascii_hexdigit() && !"+'\" \t\n\r\x0b\x0c".contains(c);
    match (characters.next(), characters.next()) {
        (Some(escape), None) if fits(escape) => Ok((escape, 2)),
        _ => {
            let near = source.slice(std::slice::from_ref(named));
            let message = format!("invalid Unicode escape character at or near \"{near}\"");
            Err(SqlError::syntax(message).at(source.position(named.span.start)))
        }
    }
}

/// What is wrong with an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Escape,
    Value,
    Pair,
}

impl Problem {
    fn error(self) -> SqlError {
        match self {
            Self::Escape => SqlError::syntax("invalid Unicode escape")
                .with_hint("Unicode escapes must be \\XXXX or \\+XXXXXX."),
            Self::Value => SqlError::syntax("invalid Unicode escape value"),
            Self::Pair => SqlError::syntax("invalid Unicode surrogate pair"),
        }
    }
}

/// The text without escapes and with single quotes; or where in it what is wrong.
fn decoded(inner: &[char], quote: char, escape: char) -> Result<String, (usize, Problem)> {
    const HIGH: std::ops::RangeInclusive<u32> = 0xd800..=0xdbff;
    const LOW: std::ops::RangeInclusive<u32> = 0xdc00..=0xdfff;
    let mut text = String::with_capacity(inner.len());
    // The first half of a surrogate pair.
    let mut high: Option<u32> = None;
    let mut at = 0;
    while let Some(&character) = inner.get(at) {
        let next = inner.get(at + 1).copied();
        if character != escape || next == Some(escape) {
            if high.is_some() {
                return Err((at, Problem::Pair));
            }
            text.push(character);
            at += if character == escape || character == quote { 2 } else { 1 };
            continue;
        }
        let (code, length) = match next {
            Some('+') => (code_of(inner.get(at + 2..at + 8)), 8),
            _ => (code_of(inner.get(at + 1..at + 5)), 5),
        };
        let code = code.ok_or((at, Problem::Escape))?;
        let whole = match high.take() {
            Some(first) if LOW.contains(&code) => 0x10000 + ((first & 0x3ff) << 10) + (code & 0x3ff),
            Some(_) => return Err((at, Problem::Pair)),
            None if HIGH.contains(&code) => {
                high = Some(code);
                at += length;
                continue;
            }
            None if LOW.contains(&code) => return Err((at, Problem::Pair)),
            None => code,
        };
        let whole = char::from_u32(whole).filter(|c| *c != '\0');
        text.push(whole.ok_or((at, Problem::Value))?);
        at += length;
    }
    if high.is_some() { Err((at, Problem::Pair)) } else { Ok(text) }
}

fn code_of(digits: Option<&[char]>) -> Option<u32> {
    digits?.iter().try_fold(0, |code, digit| Some(code * 16 + digit.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_postgresql_reads_them() {
        let read = |text: &str| decoded(&text.chars().collect::<Vec<_>>(), '"', '\\');
        assert_eq!(read(r"d\0061t\+000061").as_deref(), Ok("data"));
        assert_eq!(read("a\"\"b\\\\c").as_deref(), Ok("a\"b\\c"));
        assert_eq!(read(r"\d83d\de00").as_deref(), Ok("\u{1f600}"));
        for (text, at, problem) in [
            (r"b\xyz1", 1, Problem::Escape),
            (r"\00", 0, Problem::Escape),
            (r"\0000", 0, Problem::Value),
            (r"\+110000", 0, Problem::Value),
            (r"a\d83d", 6, Problem::Pair),
            (r"a\d83db", 6, Problem::Pair),
            (r"\d83d\0061", 5, Problem::Pair),
            (r"\de00", 0, Problem::Pair),
        ] {
            assert_eq!(read(text), Err((at, problem)), "{text}");
        }
    }
}
