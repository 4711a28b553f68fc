//! Words of a replication command.

use super::WireLsn;
use super::command::CommandError;

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word, as written.
    Word(String),
    /// A double-quoted name.
    Quoted(String),
    /// A single-quoted text.
    Text(String),
    /// An unsigned number.
    Number(u32),
    /// X/X.
    Position(WireLsn),
    /// One of `( ) , ; .`
    Mark(char),
}

/// The most words of a command. Each takes memory, many times that of its text, and no command that there is
/// has a hundred.
pub(super) const TOKENS_MAX: usize = 1000;

/// Splits a command into words.
pub(super) fn scan(command: &str) -> Result<Vec<Token>, CommandError> {
    let mut tokens = Vec::new();
    let mut rest = command;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        if tokens.len() == TOKENS_MAX {
            return Err(CommandError::TooLong { limit: TOKENS_MAX, what: "words" });
        }
        let token = match first {
            '(' | ')' | ',' | ';' | '.' => {
                rest = rest.get(1..).unwrap_or_default();
                Token::Mark(first)
            }
            '\'' | '"' => {
                let (text, after) = quoted(rest, first)?;
                rest = after;
                if first == '"' { Token::Quoted(text) } else { Token::Text(text) }
            }
            _ if first.is_ascii_hexdigit() && position(rest).is_some() => {
                let (at, after) = position(rest).unwrap_or((WireLsn::default(), ""));
                rest = after;
                Token::Position(at)
            }
            '0'..='9' => {
                let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
                rest = after;
                let number = digits.parse();
                Token::Number(number.map_err(|_| CommandError::syntax(digits))?)
            }
            _ if first == '_' || first.is_alphabetic() => {
                let (word, after) = split_while(rest, |c| c == '_' || c == '$' || c.is_alphanumeric());
                rest = after;
                Token::Word(word.to_owned())
            }
            _ => return Err(CommandError::syntax(first.to_string())),
        };
        tokens.push(token);
    }
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !keep(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn position(text: &str) -> Option<(WireLsn, &str)> {
    let (word, after) = split_while(text, |c| c == '/' || c.is_ascii_alphanumeric());
    Some((WireLsn::parse(word)?, after))
}

/// Reads a text in quotes, in which a doubled quote stands for one.
fn quoted(text: &str, quote: char) -> Result<(String, &str), CommandError> {
    let mut inside = String::new();
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        let Some(end) = rest.find(quote) else {
            return Err(CommandError::Unterminated(if quote == '"' {
                "quoted identifier"
            } else {
                "quoted string"
            }));
        };
        inside.push_str(rest.get(..end).unwrap_or_default());
        rest = rest.get(end + 1..).unwrap_or_default();
        match rest.strip_prefix(quote) {
            Some(after) => {
                inside.push(quote);
                rest = after;
            }
            None => return Ok((inside, rest)),
        }
    }
}
