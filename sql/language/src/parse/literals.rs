//! String literals that go on in the next line, and those with escapes.
//!
//! PostgreSQL reads `'a'` and `'b'` as one literal where a line ends between them, with comments up to the
//! ends of lines or without. What comes behind is of the first one's kind.

use super::source::{Places, Source, behind};
use super::{escapes, unicode};
use sql_interface::Result;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Whitespace};

/// A literal with escapes, as it is written.
#[derive(Debug)]
pub(super) struct Escaped<'t> {
    token: Token,
    /// The whole text of it, with all its pieces.
    pub(super) text: &'t str,
    /// What stands between the quotes of each piece, and how many bytes before that.
    pub(super) pieces: Vec<(usize, &'t str)>,
}

impl<'t> Escaped<'t> {
    /// The one that this text begins with; None if that is no such literal, or has no end.
    pub(super) fn at(text: &'t str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (token, opening) = match bytes {
            [b'e' | b'E', b'\'', ..] => (Token::EscapedStringLiteral(String::new()), 2),
            [b'u' | b'U', b'&', b'\'', ..] => (Token::UnicodeStringLiteral(String::new()), 3),
            _ => return None,
        };
        let has_backslashes = matches!(token, Token::EscapedStringLiteral(_));
        let (mut start, mut pieces) = (opening, Vec::with_capacity(1));
        loop {
            let end = closing_quote(bytes, start, has_backslashes)?;
            pieces.push((start, text.get(start..end)?));
            match next_piece(bytes, end + 1) {
                Some(next) => start = next,
                None => return Some(Self { token, text: text.get(..=end)?, pieces }),
            }
        }
    }

    /// All that stands between the quotes.
    pub(super) fn inner(&self) -> String {
        self.pieces.iter().map(|(_, piece)| *piece).collect()
    }

    pub(super) fn into_token(self) -> Token {
        self.token
    }
}

/// Where the piece ends whose text begins here.
fn closing_quote(bytes: &[u8], mut at: usize, has_backslashes: bool) -> Option<usize> {
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'\\', _) if has_backslashes => at += 2,
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return Some(at),
            _ => at += 1,
        }
    }
}

/// Where the text of another piece begins behind the quote of one; comments up to the ends of lines may stand
/// between, and one line has to end.
fn next_piece(bytes: &[u8], mut at: usize) -> Option<usize> {
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let mut goes_on = false;
    loop {
        match bytes.get(at)? {
            b' ' | b'\t' | b'\x0c' => at += 1,
            b'\n' | b'\r' => {
                goes_on = true;
                at += 1;
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at += bytes.get(at..)?.iter().position(is_line_end)?;
            }
            b'\'' if goes_on => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Gives literals of C's escapes the pieces that go on with them: the parser has cut these as literals
/// without escapes. Where that ends one elsewhere, what it has cut behind goes, and it has to begin there
/// again. `known`: the tokens of which this is settled.
pub(super) fn take_pieces(
    source: &Source,
    places: &mut Places<'_>,
    tokens: &mut Vec<TokenWithSpan>,
    known: usize,
) -> Option<Location> {
    let mut at = known;
    while let Some(token) = tokens.get(at) {
        at += 1;
        if !matches!(token.token, Token::EscapedStringLiteral(_)) {
            continue;
        }
        let text = source.text().get(places.offset(token.span.start)..).unwrap_or_default();
        let Some(literal) = Escaped::at(text) else { continue };
        let end = literal.text.chars().fold(token.span.start, behind);
        if end == token.span.end {
            continue;
        }
        let inside = |token: &&mut TokenWithSpan| token.span.start < end;
        let mut cut_at = token.span.end;
        for piece in tokens.iter_mut().skip(at).take_while(inside) {
            piece.token = Token::Whitespace(Whitespace::Space);
            cut_at = piece.span.end;
        }
        if let Some(token) = tokens.get_mut(at - 1) {
            token.span.end = end;
        }
        if cut_at != end {
            tokens.truncate(at);
            return Some(end);
        }
    }
    None
}

/// Reads the escapes of all literals that have some. The parser has read them otherwise, or not at all.
pub(super) fn read(source: &Source, mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut places = source.places();
    for token in &mut tokens {
        if let Token::EscapedStringLiteral(text) = &mut token.token
            && let Some(literal) = Escaped::at(places.slice(token.span))
        {
            *text = escapes::decoded(&literal, source.position(token.span.start))?;
        }
    }
    unicode::read(source, tokens)
}

/// Whether a literal has escapes or stands right behind another one, or what [`unicode`] reads may be there.
pub(super) fn go_on(tokens: &[TokenWithSpan]) -> bool {
    let mut behind_literal = false;
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => {}
            Token::SingleQuotedString(_) if behind_literal => return true,
            Token::Ampersand | Token::UnicodeStringLiteral(_) | Token::EscapedStringLiteral(_) => {
                return true;
            }
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
                match kept.last_mut().filter(|last| is_literal(&last.token)) {
                    Some(last) => {
                        append(&mut last.token, more);
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

/// Whether what goes on with a token stands in tokens of its own: literals with C's escapes have it already.
const fn is_literal(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
    )
}

/// Gives a literal more text; that of one with Unicode's escapes is read from the source.
fn append(literal: &mut Token, more: &str) {
    if let Token::SingleQuotedString(text)
    | Token::NationalStringLiteral(text)
    | Token::SingleQuotedByteStringLiteral(text)
    | Token::HexStringLiteral(text) = literal
    {
        text.push_str(more);
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexed;
    use super::*;

    fn read_all(source: &Source) -> Vec<TokenWithSpan> {
        read(source, joined(lexed(source).unwrap())).unwrap()
    }

    fn kinds(text: &str) -> Vec<Token> {
        read_all(&Source::new(text)).into_iter().map(|token| token.token).collect()
    }

    #[test]
    fn literals_go_on_behind_the_end_of_a_line_alone() {
        let plain = |text: &str| Token::SingleQuotedString(text.to_owned());
        assert_eq!(kinds("'a'\n'b'"), [plain("ab")]);
        assert_eq!(kinds("'a' -- c\n -- d\n 'b' \n 'c'"), [plain("abc")]);
        assert_eq!(kinds("'a' 'b'"), [plain("a"), plain("b")]);
        assert_eq!(kinds("'a' /* c */\n'b'"), [plain("a"), plain("b")]);
        assert_eq!(kinds("'a',\n'b'"), [plain("a"), Token::Comma, plain("b")]);
    }

    #[test]
    fn what_goes_on_is_of_the_first_ones_kind() {
        let escaped = |text: &str| Token::EscapedStringLiteral(text.to_owned());
        let unicode = |text: &str| Token::UnicodeStringLiteral(text.to_owned());
        assert_eq!(kinds("E'a' -- it's\n'\\n'"), [escaped("a\n")]);
        assert_eq!(kinds("E'a' -- it's\r'b'"), [escaped("ab")]);
        assert_eq!(kinds("E'\\xc3'\n'\\xa4\\'' -- '\n '; --'"), [escaped("ä'; --")]);
        assert_eq!(kinds("E'a'\n'\\'', E'\\4'\n'1'"), [escaped("a'"), Token::Comma, escaped("\u{4}1")]);
        assert_eq!(kinds("U&'a'\n'\\0062'"), [unicode("ab")]);
        assert_eq!(kinds("U&'a''' -- it's\n'!0062' uescape '!'"), [unicode("a'b")]);
    }

    #[test]
    fn what_the_parser_cannot_read_is_read_all_the_same() {
        let source = Source::new("1,\n 'ä', e'\\xc3\\xa4', 2,\n U&'\\d83d\\de00', E'\\t', 3");
        let made: Vec<_> = read_all(&source)
            .into_iter()
            .filter(|token| token.token != Token::Comma)
            .map(|token| (token.token.to_string(), source.position(token.span.start)))
            .collect();
        let expected =
            [("1", 1), ("'ä'", 5), ("E'ä'", 10), ("2", 23), ("U&'😀'", 27), ("E'\t'", 43), ("3", 50)];
        assert_eq!(made, expected.map(|(text, place)| (text.to_owned(), Some(place))));
    }
}
