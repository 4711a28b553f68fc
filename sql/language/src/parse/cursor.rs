//! A walk over the tokens of one statement, for what is parsed by hand.

use super::Source;
use super::doubts::Found;
use identifier::{is_reserved, is_reserved_everywhere};
use sql_interface::{Result, SqlError, clipped};
use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use std::cell::Cell;

/// Tokens without the white space, and a place among them.
pub(super) struct Cursor<'a> {
    source: &'a Source,
    tokens: Vec<&'a TokenWithSpan>,
    at: usize,
    /// What is doubtful about the parts that the other parser read.
    doubts: Cell<Found>,
    /// What is wrong with the statement's options.
    refusal: Option<SqlError>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a Source, tokens: &'a [TokenWithSpan]) -> Self {
        let tokens =
            tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect();
        Self { source, tokens, at: 0, doubts: Cell::default(), refusal: None }
    }

    pub(crate) fn source(&self) -> &'a Source {
        self.source
    }

    /// Notes what is doubtful about a part.
    pub(super) fn note(&self, found: Found) {
        self.doubts.set(self.doubts.get().and(found));
    }

    /// Notes what is wrong with an option that the grammar takes; what was noted first stays.
    pub(super) fn refuse(&mut self, error: SqlError) {
        self.refusal.get_or_insert(error);
    }

    /// What is wrong with the options.
    pub(super) fn take_refusal(&mut self) -> Option<SqlError> {
        self.refusal.take()
    }

    /// What was noted.
    pub(super) fn doubts(&self) -> Found {
        self.doubts.get()
    }

    pub(crate) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|token| &token.token)
    }

    /// How many tokens, but for white space, the statement has.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    pub(crate) fn rewind(&mut self, place: usize) {
        self.at = place;
    }

    /// All tokens not yet taken.
    pub(crate) fn rest(&self) -> Vec<TokenWithSpan> {
        self.tokens.get(self.at..).unwrap_or_default().iter().map(|token| (*token).clone()).collect()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// 42601 at the next token.
    pub(crate) fn unexpected(&self) -> SqlError {
        match self.tokens.get(self.at) {
            Some(token) => self.source.unexpected(token),
            None => self.source.end_of_input(),
        }
    }

    /// 42601 at the token taken last.
    pub(crate) fn unexpected_before(&self) -> SqlError {
        match self.at.checked_sub(1).and_then(|at| self.tokens.get(at)) {
            Some(token) => self.source.unexpected(token),
            None => self.source.end_of_input(),
        }
    }

    /// The position of the next token, for errors.
    pub(crate) fn position(&self) -> Option<u32> {
        self.source.position(self.tokens.get(self.at)?.span.start)
    }

    pub(crate) fn expect_end(&self) -> Result<()> {
        if self.is_at_end() { Ok(()) } else { Err(self.unexpected()) }
    }

    fn is_word_at(&self, at: usize, word: &str) -> bool {
        matches!(self.tokens.get(at).map(|token| &token.token),
            Some(Token::Word(found)) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    }

    /// Whether these unquoted words come next.
    pub(crate) fn sees(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.is_word_at(self.at + offset, word))
    }

    /// Takes these words if they come next.
    pub(crate) fn words(&mut self, words: &[&str]) -> bool {
        let seen = self.sees(words);
        if seen {
            self.at += words.len();
        }
        seen
    }

    /// Takes this word if it comes next.
    pub(crate) fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    /// Takes one of these words if it comes next.
    pub(crate) fn any_word(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.word(word))
    }

    pub(crate) fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes this token if it comes next.
    pub(crate) fn token(&mut self, token: &Token) -> bool {
        let seen = self.peek() == Some(token);
        if seen {
            self.at += 1;
        }
        seen
    }

    pub(crate) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// An identifier, folded to lower case unless quoted.
    pub(crate) fn identifier(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(folded(word.quote_style, &word.value))
            }
            _ => Err(self.unexpected()),
        }
    }

    /// An identifier that names something: no reserved word without quotes.
    pub(crate) fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) if word.quote_style.is_none() && is_reserved(&word.value) => {
                Err(self.unexpected())
            }
            _ => self.identifier(),
        }
    }

    /// A word that is the value of a setting: a boolean, or one that is not reserved everywhere.
    pub(crate) fn setting_word(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word))
                if word.quote_style.is_none()
                    && is_reserved_everywhere(&word.value)
                    && !["true", "false", "on"]
                        .iter()
                        .any(|known| word.value.eq_ignore_ascii_case(known)) =>
            {
                Err(self.unexpected())
            }
            _ => self.identifier(),
        }
    }

    /// A string literal of any kind.
    pub(crate) fn string(&mut self) -> Option<String> {
        let text = match self.peek()? {
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(text) => text.value.clone(),
            _ => return None,
        };
        self.at += 1;
        Some(text)
    }

    pub(crate) fn expect_string(&mut self) -> Result<String> {
        self.string().ok_or_else(|| self.unexpected())
    }

    /// A number with an optional sign, as text.
    pub(crate) fn number(&mut self) -> Option<String> {
        let place = self.at;
        let sign = if self.token(&Token::Minus) {
            "-"
        } else {
            self.token(&Token::Plus);
            ""
        };
        if let Some(Token::Number(text, _)) = self.peek() {
            self.at += 1;
            return Some(format!("{sign}{text}"));
        }
        self.at = place;
        None
    }

    /// `name` or `schema.name`.
    pub(crate) fn object_name(&mut self) -> Result<ast::ObjectName> {
        let mut parts = Vec::new();
        loop {
            if parts.is_empty() {
                // Those behind the first may be any words.
                let place = self.at;
                self.name()?;
                self.at = place;
            }
            match self.tokens.get(self.at) {
                Some(TokenWithSpan { token: Token::Word(word), span }) => {
                    parts.push(ast::ObjectNamePart::Identifier(ast::Ident {
                        value: word.value.clone(),
                        quote_style: word.quote_style,
                        span: *span,
                    }));
                    self.at += 1;
                }
                _ => return Err(self.unexpected()),
            }
            if !self.token(&Token::Period) {
                return Ok(ast::ObjectName(parts));
            }
        }
    }

    /// The tokens inside a pair of parentheses, the first of which comes next.
    pub(crate) fn parenthesised(&mut self) -> Result<Vec<TokenWithSpan>> {
        self.expect_token(&Token::LParen)?;
        let start = self.at;
        let mut depth = 1;
        while let Some(token) = self.peek() {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                let inside = self.tokens.get(start..self.at - 1).unwrap_or_default();
                return Ok(inside.iter().map(|token| (*token).clone()).collect());
            }
        }
        Err(self.unexpected())
    }

    /// A name list in parentheses.
    pub(crate) fn name_list(&mut self) -> Result<Vec<String>> {
        self.expect_token(&Token::LParen)?;
        let mut names = vec![self.name()?];
        while self.token(&Token::Comma) {
            names.push(self.name()?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }
}

/// PostgreSQL's case folding of identifiers, and its limit of 63 bytes.
pub(crate) fn folded(quote: Option<char>, value: &str) -> String {
    let mut name = if quote.is_some() { value.to_owned() } else { value.to_ascii_lowercase() };
    name.truncate(clipped(&name).len());
    name
}
