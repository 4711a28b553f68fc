//! The grammar of synchronous_standby_names.
//!
//! ```text
//! names  :=  list | n ( list ) | FIRST n ( list ) | ANY n ( list )
//! list   :=  name , ...         name := identifier | number | "quoted" | *
//! ```

use std::fmt;

/// How standbys are chosen among those named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The first so many of those connected, in the list's order.
    First,
    /// Any so many.
    Any,
}

/// A parsed synchronous_standby_names that names at least one standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncNames {
    method: Method,
    count: usize,
    names: Vec<String>,
}

/// Why a value is refused; the text is the DETAIL of the error on the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncNamesError {
    /// Something that the grammar does not have.
    #[error("syntax error at or near \"{0}\"")]
    Near(String),
    /// It stops in the middle.
    #[error("syntax error at end of input")]
    End,
    /// A quote without its end.
    #[error("unterminated quoted identifier at end of input")]
    Quote,
    /// Zero standbys.
    #[error("number of synchronous standbys ({0}) must be greater than zero")]
    Zero(usize),
}

impl SyncNames {
    /// Reads the setting. None if it is empty: nothing is synchronous.
    ///
    /// # Errors
    ///
    /// Fails where the text is not in the grammar, or asks for no standby.
    pub fn parse(text: &str) -> Result<Option<Self>, SyncNamesError> {
        let mut tokens = Tokens { list: scan(text)?, at: 0 };
        if tokens.list.is_empty() {
            return Ok(None);
        }
        // FIRST and ANY are keywords everywhere, so they cannot be bare names.
        let method = match tokens.peek() {
            Some(Token::First) => Some(Method::First),
            Some(Token::Any) => Some(Method::Any),
            _ => None,
        };
        tokens.at += usize::from(method.is_some());
        let counted = method.is_some() || tokens.list.get(1) == Some(&Token::Mark('('));
        let parsed = match tokens.peek() {
            Some(Token::Number(number)) if counted => {
                let count = number.parse().map_err(|_| SyncNamesError::Near(number.clone()))?;
                tokens.at += 1;
                tokens.expect('(')?;
                let names = tokens.names()?;
                tokens.expect(')')?;
                Self { method: method.unwrap_or(Method::First), count, names }
            }
            _ if method.is_some() => return Err(tokens.unexpected()),
            _ => Self { method: Method::First, count: 1, names: tokens.names()? },
        };
        if tokens.peek().is_some() {
            return Err(tokens.unexpected());
        }
        if parsed.count == 0 {
            return Err(SyncNamesError::Zero(0));
        }
        Ok(Some(parsed))
    }

    /// Whether a value of the setting names any standby. One that cannot be read counts as naming some:
    /// commits then wait rather than go without.
    pub fn are_given(text: &str) -> bool {
        !matches!(Self::parse(text), Ok(None))
    }

    /// FIRST or ANY.
    pub fn method(&self) -> Method {
        self.method
    }
    /// How many standbys a commit waits for.
    pub fn count(&self) -> usize {
        self.count
    }
    /// The names in order; `*` matches all.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// sync_priority of a standby with this application_name: its place in the list (1 for all with ANY),
    /// 0 if it is not named.
    pub fn priority(&self, application_name: &str) -> usize {
        let matches = |name: &String| name == "*" || name.eq_ignore_ascii_case(application_name);
        match (self.names.iter().position(matches), self.method) {
            (None, _) => 0,
            (Some(at), Method::First) => at + 1,
            (Some(_), Method::Any) => 1,
        }
    }
}

impl fmt::Display for SyncNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::First => "FIRST",
            Method::Any => "ANY",
        };
        let quoted = |name: &String| match name.as_str() {
            "*" => "*".to_owned(),
            name => identifier::quote_always(name),
        };
        let names: Vec<String> = self.names.iter().map(quoted).collect();
        write!(f, "{method} {} ({})", self.count, names.join(", "))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    First,
    Any,
    Number(String),
    Name(String),
    Mark(char),
}

impl Token {
    fn text(&self) -> String {
        match self {
            Self::First => "FIRST".to_owned(),
            Self::Any => "ANY".to_owned(),
            Self::Number(text) | Self::Name(text) => text.clone(),
            Self::Mark(mark) => mark.to_string(),
        }
    }
}

struct Tokens {
    list: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn peek(&self) -> Option<&Token> {
        self.list.get(self.at)
    }
    fn unexpected(&self) -> SyncNamesError {
        self.peek().map_or(SyncNamesError::End, |token| SyncNamesError::Near(token.text()))
    }
    fn expect(&mut self, mark: char) -> Result<(), SyncNamesError> {
        if self.peek() != Some(&Token::Mark(mark)) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }
    fn names(&mut self) -> Result<Vec<String>, SyncNamesError> {
        let mut names = Vec::new();
        loop {
            let (Some(Token::Name(name)) | Some(Token::Number(name))) = self.peek() else {
                return Err(self.unexpected());
            };
            names.push(name.clone());
            self.at += 1;
            if self.peek() != Some(&Token::Mark(',')) {
                return Ok(names);
            }
            self.at += 1;
        }
    }
}

fn scan(text: &str) -> Result<Vec<Token>, SyncNamesError> {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let goes_on = |c: char| starts(c) || c.is_ascii_digit() || c == '$';
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_whitespace() || first == '\u{b}' {
            rest = rest.get(1..).unwrap_or_default();
        } else if first == '"' {
            let (name, after) = quoted(rest)?;
            tokens.push(Token::Name(name));
            rest = after;
        } else if first.is_ascii_digit() || starts(first) {
            let number = first.is_ascii_digit();
            let end = rest.find(|c: char| if number { !c.is_ascii_digit() } else { !goes_on(c) });
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            tokens.push(match word.to_ascii_lowercase().as_str() {
                _ if number => Token::Number(word.to_owned()),
                "first" => Token::First,
                "any" => Token::Any,
                _ => Token::Name(word.to_owned()),
            });
            rest = after;
        } else {
            let (mark, after) = rest.split_at(1);
            tokens.push(match first {
                '*' => Token::Name("*".to_owned()),
                ',' | '(' | ')' => Token::Mark(first),
                _ => return Err(SyncNamesError::Near(mark.to_owned())),
            });
            rest = after;
        }
    }
    Ok(tokens)
}

/// A quoted name and what follows it; two quotes inside stand for one.
fn quoted(text: &str) -> Result<(String, &str), SyncNamesError> {
    let unterminated = || SyncNamesError::Quote;
    let mut name = String::new();
    let mut rest = text.strip_prefix('"').ok_or_else(unterminated)?;
    loop {
        let (part, after) = rest.split_once('"').ok_or_else(unterminated)?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Ok((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_grammar_is_read() {
        for (text, shown) in [
            ("s1", "FIRST 1 (\"s1\")"),
            ("s1,s2", "FIRST 1 (\"s1\", \"s2\")"),
            ("*", "FIRST 1 (*)"),
            ("2(s1,s2,s3)", "FIRST 2 (\"s1\", \"s2\", \"s3\")"),
            ("FIRST 2 (s1, s2)", "FIRST 2 (\"s1\", \"s2\")"),
            ("first 1 (*)", "FIRST 1 (*)"),
            ("Any 2 ( s1 , \"two words\" , \"a\"\"b\" )", "ANY 2 (\"s1\", \"two words\", \"a\"\"b\")"),
            ("ANY 1 (1, 2)", "ANY 1 (\"1\", \"2\")"),
            ("1, 2", "FIRST 1 (\"1\", \"2\")"),
            ("\"any\", \"FIRST\"", "FIRST 1 (\"any\", \"FIRST\")"),
            ("3", "FIRST 1 (\"3\")"),
            ("a$1", "FIRST 1 (\"a$1\")"),
        ] {
            let parsed = SyncNames::parse(text).map(|names| names.map(|names| names.to_string()));
            assert_eq!(parsed, Ok(Some(shown.to_owned())), "{text}");
        }
        assert_eq!(SyncNames::parse(" "), Ok(None));
        let given = ["", " \t\n", "a", "*", "\u{a0}", "(", "\"open"].map(SyncNames::are_given);
        assert_eq!(given, [false, false, true, true, true, true, true]);
    }

    #[test]
    fn what_the_grammar_does_not_have_is_named() {
        // The details that PostgreSQL 15.20 gave to ALTER SYSTEM SET synchronous_standby_names.
        for (text, detail) in [
            ("a (", "syntax error at or near \"(\""),
            ("1 (a", "syntax error at end of input"),
            ("a,", "syntax error at end of input"),
            ("FIRST", "syntax error at end of input"),
            ("FIRST a", "syntax error at or near \"a\""),
            ("ANY 1", "syntax error at end of input"),
            ("ANY 1 ()", "syntax error at or near \")\""),
            ("a b", "syntax error at or near \"b\""),
            ("a-b", "syntax error at or near \"-\""),
            ("any", "syntax error at end of input"),
            ("1 (a) b", "syntax error at or near \"b\""),
            ("0 (a)", "number of synchronous standbys (0) must be greater than zero"),
            ("\"open", "unterminated quoted identifier at end of input"),
            ("first 1 (a,)", "syntax error at or near \")\""),
            ("(a)", "syntax error at or near \"(\""),
        ] {
            assert_eq!(
                SyncNames::parse(text).map_err(|error| error.to_string()),
                Err(detail.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn priority_is_the_place_in_the_list_whatever_the_case() {
        let first = SyncNames::parse("FIRST 1 (a, B, *)").unwrap().unwrap();
        assert_eq!(["A", "b", "c"].map(|name| first.priority(name)), [1, 2, 3]);
        let any = SyncNames::parse("ANY 1 (a, b)").unwrap().unwrap();
        assert_eq!(["a", "b", "c"].map(|name| any.priority(name)), [1, 1, 0]);
    }
}
