//! The text of a message, and places in it.

use sql_interface::{SqlError, stack};
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, TokenizerError};
use std::sync::{Arc, OnceLock};

/// The message of an error at the end of the text.
pub(super) const END_OF_INPUT: &str = "syntax error at end of input";

/// The text of a message; cloning shares it.
#[derive(Clone, Debug)]
pub struct Source(Arc<Text>);

#[derive(Debug)]
struct Text {
    text: Arc<str>,
    /// How many characters stand before each line; made when a place is asked for, which may happen for each
    /// name.
    lines: OnceLock<Vec<u64>>,
    /// Each character is one byte.
    ascii: OnceLock<bool>,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        Self(Arc::new(Text { text: Arc::from(text), lines: OnceLock::new(), ascii: OnceLock::new() }))
    }

    /// The whole text.
    pub fn text(&self) -> &Arc<str> {
        &self.0.text
    }

    /// The character, counted from 1 over the whole text, at a line and column.
    pub fn position(&self, at: Location) -> Option<u32> {
        let lines = self.0.lines.get_or_init(|| {
            let breaks = (1_u64..).zip(self.0.text.chars()).filter(|(_, character)| *character == '\n');
            std::iter::once(0).chain(breaks.map(|(before, _)| before)).collect()
        });
        let line = usize::try_from(at.line.checked_sub(1)?).ok()?;
        let start = lines.get(line).or(lines.last())?;
        u32::try_from(start + at.column).ok()
    }

    /// The bytes before a position (characters from 1).
    pub(super) fn offset(&self, position: u32) -> usize {
        let skip = usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX);
        if *self.0.ascii.get_or_init(|| self.text().is_ascii()) {
            return skip.min(self.text().len());
        }
        self.text().char_indices().nth(skip).map_or(self.text().len(), |(offset, _)| offset)
    }

    /// The position (characters from 1) behind so many bytes.
    pub(super) fn position_of(&self, offset: usize) -> Option<u32> {
        u32::try_from(self.text().get(..offset)?.chars().count() + 1).ok()
    }

    /// The text from a position (characters from 1) on.
    pub(super) fn text_from(&self, position: u32) -> &str {
        self.text().get(self.offset(position)..).unwrap_or_default()
    }

    /// To look up places that come one behind the other.
    pub(super) fn places(&self) -> Places<'_> {
        Places { text: self.text(), offset: 0, place: Location { line: 1, column: 1 } }
    }

    /// The token's own text as it was written.
    fn token_text(&self, token: &TokenWithSpan) -> String {
        let (Some(start), Some(end)) = (self.position(token.span.start), self.position(token.span.end))
        else {
            return token.token.to_string();
        };
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let text: String = self.text_from(start).chars().take(length).collect();
        if text.is_empty() { token.token.to_string() } else { text }
    }

    /// The text from the first to the last of some tokens.
    pub(crate) fn slice(&self, tokens: &[TokenWithSpan]) -> String {
        let start = tokens.first().and_then(|token| self.position(token.span.start));
        let end = tokens.last().and_then(|token| self.position(token.span.end));
        let (Some(start), Some(end)) = (start, end) else { return String::new() };
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        self.text_from(start).chars().take(length).collect()
    }

    /// 42601 at a token that does not belong there.
    pub(crate) fn unexpected(&self, token: &TokenWithSpan) -> SqlError {
        if matches!(token.token, Token::EOF | Token::SemiColon) {
            return self.end_of_input();
        }
        self.unexpected_here(token)
    }

    /// 42601 at this token, whatever it is.
    pub(crate) fn unexpected_here(&self, token: &TokenWithSpan) -> SqlError {
        SqlError::syntax(format!("syntax error at or near \"{}\"", self.token_text(token)))
            .at(self.position(token.span.start))
    }

    /// 42601 where the statement ends too early.
    pub(crate) fn end_of_input(&self) -> SqlError {
        let end = u32::try_from(self.text().chars().count() + 1).ok();
        SqlError::syntax(END_OF_INPUT).at(end)
    }

    /// What sqlparser says, in PostgreSQL's words: the place is what counts.
    pub(crate) fn syntax_error(&self, error: &ParserError) -> SqlError {
        let (message, place) = super::parser_error_parts(error);
        if matches!(error, ParserError::RecursionLimitExceeded) {
            return stack::exceeded();
        }
        let Some((line, column)) = place else {
            return if message.contains("found: EOF") {
                self.end_of_input()
            } else {
                SqlError::syntax(format!("syntax error: {message}"))
            };
        };
        let position = self.position(Location { line, column });
        let rest = self.text_from(position.unwrap_or(u32::MAX));
        match first_token(rest) {
            "" => self.end_of_input(),
            token => SqlError::syntax(format!("syntax error at or near \"{token}\"")).at(position),
        }
    }

    /// A text that does not even split into tokens.
    pub(crate) fn lexical_error(&self, error: &TokenizerError) -> SqlError {
        let position = self.position(error.location);
        let what = error.message.to_ascii_lowercase();
        let name = if what.contains("dollar") {
            "unterminated dollar-quoted string"
        } else if what.contains("unterminated") && what.contains("string") {
            "unterminated quoted string"
        } else if what.contains("close delimiter") {
            "unterminated quoted identifier"
        } else if what.contains("eof") || what.contains("comment") {
            "unterminated /* comment"
        } else {
            "syntax error"
        };
        let rest = self.text_from(position.unwrap_or(1));
        SqlError::syntax(format!("{name} at or near \"{rest}\"")).at(position)
    }
}

/// Where the places of a text are, each no earlier than the last: all together take one way through it.
#[derive(Debug)]
pub(super) struct Places<'t> {
    text: &'t str,
    offset: usize,
    place: Location,
}

impl<'t> Places<'t> {
    /// The bytes before a place.
    pub(super) fn offset(&mut self, place: Location) -> usize {
        for character in self.text.get(self.offset..).unwrap_or_default().chars() {
            if (self.place.line, self.place.column) >= (place.line, place.column) {
                break;
            }
            self.offset += character.len_utf8();
            self.place = behind(self.place, character);
        }
        self.offset
    }

    /// What stands in a span.
    pub(super) fn slice(&mut self, span: Span) -> &'t str {
        let start = self.offset(span.start);
        let end = self.offset(span.end);
        self.text.get(start..end).unwrap_or_default()
    }
}

/// The place behind a character.
pub(super) const fn behind(place: Location, character: char) -> Location {
    match character {
        '\n' => Location { line: place.line + 1, column: 1 },
        _ => Location { line: place.line, column: place.column + 1 },
    }
}

/// The first token of a text, roughly: a word, a number, a quoted thing or one character.
fn first_token(text: &str) -> &str {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let Some(first) = text.chars().next() else { return "" };
    let length = match first {
        '\'' | '"' => {
            text.char_indices().skip(1).find(|(_, c)| *c == first).map_or(text.len(), |(at, _)| at + 1)
        }
        c if is_word(c) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
        c => c.len_utf8(),
    };
    text.get(..length).unwrap_or(text)
}
