//! String literals that go on in the next line.
//!
//! PostgreSQL reads `'a'` and `'b'` as one literal where a line ends between them, with comments up to the
//! ends of lines or without. What comes behind is of the first one's kind.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

/// Whether a literal stands right behind another one, or what [`unicode`] reads may be there.
///
/// [`unicode`]: super::unicode
pub(super) fn go_on(tokens: &[TokenWithSpan]) -> bool {
    let mut behind_literal = false;
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => {}
            Token::SingleQuotedString(_) if behind_literal => return true,
            Token::Ampersand | Token::UnicodeStringLiteral(_) => return true,
            literal => behind_literal = is_literal(literal),
        }
    }
    false
}

/// The tokens without white space, and with each literal in one.
pub(super) fn joined(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // What stands between the last kept token and here lets a literal go on.
    let mut goes_on = Between::Nothing;
    for token in tokens {
        match &token.token {
            Token::Whitespace(Whitespace::Newline | Whitespace::SingleLineComment { .. }) => {
                goes_on = goes_on.and(Between::LineEnd);
            }
            Token::Whitespace(Whitespace::MultiLineComment(_)) => goes_on = Between::Comment,
            Token::Whitespace(Whitespace::Space | Whitespace::Tab) => {}
            Token::SingleQuotedString(more) if goes_on == Between::LineEnd => {
                let last = kept.last_mut().and_then(|last| Some((continued(&last.token, more)?, last)));
                match last {
                    Some((whole, last)) => {
                        last.token = whole;
                        last.span.end = token.span.end;
                    }
                    None => kept.push(token),
                }
                goes_on = Between::Nothing;
            }
            _ => {
                kept.push(token);
                goes_on = Between::Nothing;
            }
        }
    }
    kept
}

/// What stands between two tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    LineEnd,
    /// A comment that ends by itself.
    Comment,
}

impl Between {
    fn and(self, other: Self) -> Self {
        if self == Self::Comment { self } else { other }
    }
}

const fn is_literal(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
    )
}

/// A literal with more of it; None if the token is no literal that can go on.
fn continued(token: &Token, more: &str) -> Option<Token> {
    Some(match token {
        Token::SingleQuotedString(text) => Token::SingleQuotedString(format!("{text}{more}")),
        Token::NationalStringLiteral(text) => Token::NationalStringLiteral(format!("{text}{more}")),
        Token::SingleQuotedByteStringLiteral(text) => {
            Token::SingleQuotedByteStringLiteral(format!("{text}{more}"))
        }
        Token::HexStringLiteral(text) => Token::HexStringLiteral(format!("{text}{more}")),
        Token::EscapedStringLiteral(text) => match reread("E", more)? {
            Token::EscapedStringLiteral(more) => Token::EscapedStringLiteral(format!("{text}{more}")),
            _ => return None,
        },
        Token::UnicodeStringLiteral(text) => match reread("U&", more)? {
            Token::UnicodeStringLiteral(more) => Token::UnicodeStringLiteral(format!("{text}{more}")),
            _ => return None,
        },
        _ => return None,
    })
}

/// What was read as a plain literal, as one of another kind.
fn reread(prefix: &str, plain: &str) -> Option<Token> {
    let text = format!("{prefix}'{}'", plain.replace('\'', "''"));
    let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize().ok()?.into_iter();
    tokens.next().filter(|_| tokens.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Token> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().unwrap();
        joined(tokens).into_iter().map(|token| token.token).collect()
    }

    #[test]
    fn literals_go_on_behind_the_end_of_a_line_alone() {
        let plain = |text: &str| Token::SingleQuotedString(text.to_owned());
        assert_eq!(read("'a'\n'b'"), [plain("ab")]);
        assert_eq!(read("'a' -- c\n -- d\n 'b' \n 'c'"), [plain("abc")]);
        assert_eq!(read("'a' 'b'"), [plain("a"), plain("b")]);
        assert_eq!(read("'a' /* c */\n'b'"), [plain("a"), plain("b")]);
        assert_eq!(read("'a',\n'b'"), [plain("a"), Token::Comma, plain("b")]);
    }

    #[test]
    fn what_goes_on_is_of_the_first_ones_kind() {
        assert_eq!(read("E'a'\n'\\n'"), [Token::EscapedStringLiteral("a\n".to_owned())]);
        assert_eq!(read("U&'a'\n'\\0062'"), [Token::UnicodeStringLiteral("ab".to_owned())]);
    }
}
