//! A text's tokens, by PostgreSQL's rules, written anew as plainly as can be.
//!
//! What stands inside quotes, what a comment says and how long a name is mean nothing to a grammar. Without
//! them a text is short and in ASCII throughout, and its tokens cannot be wrong in themselves.

use sql_interface::NAME_BYTES_MAX;

/// A piece of the plain text and where it comes from.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins in the plain text, in bytes.
    plain: usize,
    /// Where it begins and ends in the text, in bytes.
    start: usize,
    end: usize,
    /// It is as it was written.
    verbatim: bool,
}

/// What is wrong with a token in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) message: &'static str,
    /// Bytes of the text.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A text in its plain form, up to its end or to a token that is malformed.
#[derive(Debug, Default)]
pub(super) struct Plain {
    pub(super) text: String,
    pieces: Vec<Piece>,
    pub(super) malformed: Option<Malformed>,
}

const SYNTAX_ERROR: &str = "syntax error";

/// What operators are made of.
const OPERATOR: &[u8] = b"~!@#^&|`?+-*/%<>=";
/// What stands for itself.
const ALONE: &[u8] = b",()[].;:";

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    made: Plain,
    /// Space stands before the next token.
    spaced: bool,
    /// Blanks and comments that were passed over.
    blanks: usize,
}

/// About how many tokens the parser cuts a text into: to it each blank is one, and each character of an
/// operator may be one.
pub(in crate::parse) fn count_tokens(text: &str) -> usize {
    let mut lexer = Lexer::new(text);
    let mut count = 0;
    while let Some(byte) = lexer.peek(0) {
        let start = lexer.at;
        if let Err(malformed) = lexer.token(byte) {
            lexer.at = malformed.end;
            count += 1;
        }
        let bytes = lexer.at - start;
        let made = &mut lexer.made;
        if !made.pieces.is_empty() {
            count += if OPERATOR.contains(&byte) { bytes } else { 1 };
        }
        made.text.clear();
        made.pieces.clear();
    }
    count + lexer.blanks
}

const fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

const fn continues_name(byte: u8) -> bool {
    begins_name(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl Plain {
    pub(super) fn of(text: &str) -> Self {
        let mut lexer = Lexer::new(text);
        while let Some(byte) = lexer.peek(0) {
            if let Err(malformed) = lexer.token(byte) {
                lexer.made.malformed = Some(malformed);
                break;
            }
        }
        lexer.made
    }

    pub(super) fn tokens(&self) -> usize {
        self.pieces.len()
    }

    /// A token in its plain form, with the space behind it.
    pub(super) fn token(&self, at: usize) -> &str {
        let start = self.pieces.get(at).map_or(self.text.len(), |piece| piece.plain);
        let end = self.pieces.get(at + 1).map_or(self.text.len(), |next| next.plain);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The same with these tokens only.
    pub(super) fn with_tokens(&self, kept: &[usize]) -> Self {
        let mut made = Self { malformed: self.malformed.clone(), ..Self::default() };
        for at in kept {
            let Some(piece) = self.pieces.get(*at) else { continue };
            made.pieces.push(Piece { plain: made.text.len(), ..*piece });
            made.text.push_str(self.token(*at));
        }
        made
    }

    /// Where in the text a place of the plain one is: the bytes of the token there; None at its end.
    pub(super) fn place(&self, plain: usize) -> Option<(usize, usize)> {
        if plain >= self.text.len() {
            return None;
        }
        let after = self.pieces.partition_point(|piece| piece.plain <= plain);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        let inside = if piece.verbatim { plain - piece.plain } else { 0 };
        Some((piece.start + inside, piece.end))
    }

    /// Where in the plain text a place of the text is: at the first token that begins there or later.
    pub(super) fn find(&self, start: usize) -> usize {
        let at = self.pieces.partition_point(|piece| piece.start < start);
        self.pieces.get(at).map_or(self.text.len(), |piece| piece.plain)
    }
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, made: Plain::default(), spaced: false, blanks: 0 }
    }
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn malformed<T>(&self, message: &'static str, start: usize, end: usize) -> Result<T, Malformed> {
        Err(Malformed { message, start, end: end.min(self.text.len()) })
    }

    /// How many bytes from here on are of this kind.
    fn run(&self, from: usize, is: impl Fn(u8) -> bool) -> usize {
        self.rest().iter().skip(from).take_while(|byte| is(**byte)).count()
    }

    /// Takes the token that ends here and began at `start`; `plainly` is its plain form, if that is not how
    /// it was written.
    fn push(&mut self, start: usize, plainly: Option<&str>) {
        // What was written otherwise must not become one with what stands before: of U&E'' no U&''.
        let is_quoted = plainly.is_some_and(|plainly| plainly.starts_with(['\'', '"']));
        let is_apart = self.spaced || (is_quoted && self.made.text.ends_with('&'));
        self.spaced = false;
        if is_apart && !self.made.text.is_empty() {
            self.made.text.push(' ');
        }
        let (plain, end) = (self.made.text.len(), self.at);
        let written = self.text.get(start..end).unwrap_or_default();
        self.made.text.push_str(plainly.unwrap_or(written));
        self.made.pieces.push(Piece { plain, start, end, verbatim: plainly.is_none() });
    }

    fn token(&mut self, byte: u8) -> Result<(), Malformed> {
        let start = self.at;
        if self.skip_space()? {
            self.spaced = true;
            return Ok(());
        }
        let (second, third) = (self.peek(1), self.peek(2));
        match (byte, second) {
            (b'\'', _) => self.string(start, 1, false, "'x'"),
            (b'e' | b'E', Some(b'\'')) => self.string(start, 2, true, "'x'"),
            (b'n' | b'N', Some(b'\'')) => self.string(start, 2, false, "nchar 'x'"),
            (b'b' | b'B', Some(b'\'')) => self.string(start, 2, false, "b'1'"),
            (b'x' | b'X', Some(b'\'')) => self.string(start, 2, false, "x'1'"),
            (b'u' | b'U', Some(b'&')) if matches!(third, Some(b'\'' | b'"')) => {
                self.at += 2;
                if third == Some(b'"') {
                    self.quoted_name(start)?
                } else {
                    self.string(start, 1, false, "'x'")?
                }
                self.escape_clause()
            }
            (b'"', _) => self.quoted_name(start),
            (b'$', _) => self.dollar(start),
            (b'.', Some(digit)) if digit.is_ascii_digit() => self.number(start),
            _ if byte.is_ascii_digit() => self.number(start),
            _ if begins_name(byte) => {
                let length = self.run(0, continues_name);
                self.at += length;
                let name = self.text.get(start..self.at).unwrap_or_default();
                // Longer names are names all the same, and no key words.
                let plain = name.is_ascii() && length <= NAME_BYTES_MAX;
                self.push(start, if plain { None } else { Some("\"x\"") });
                Ok(())
            }
            // A token of PL/pgSQL, of which the grammar's tables know nothing.
            (b'.', Some(b'.')) => self.malformed(SYNTAX_ERROR, start, start + 2),
            _ if ALONE.contains(&byte) => {
                // Those that are two for PostgreSQL are so for the grammar's own lexer.
                self.at += 1;
                self.push(start, None);
                Ok(())
            }
            _ if OPERATOR.contains(&byte) => {
                let length = self.run(0, |byte| OPERATOR.contains(&byte));
                let run = self.rest().get(..length).unwrap_or_default();
                let comment = run.windows(2).position(|pair| pair == b"--" || pair == b"/*");
                self.at += comment.unwrap_or(length);
                self.push(start, None);
                Ok(())
            }
            _ => self.malformed(SYNTAX_ERROR, start, start + 1),
        }
    }

    /// Passes over white space or a comment, if one is here.
    fn skip_space(&mut self) -> Result<bool, Malformed> {
        let start = self.at;
        let spaces = self.run(0, |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c));
        if spaces > 0 {
            self.at += spaces;
        } else if self.rest().starts_with(b"--") {
            self.at += self.run(0, |byte| byte != b'\n' && byte != b'\r');
        } else if self.rest().starts_with(b"/*") {
            let mut depth = 0_usize;
            loop {
                match (self.peek(0), self.peek(1)) {
                    (Some(b'/'), Some(b'*')) => (depth, self.at) = (depth + 1, self.at + 2),
                    (Some(b'*'), Some(b'/')) => (depth, self.at) = (depth - 1, self.at + 2),
                    (Some(_), _) => self.at += 1,
                    (None, _) => return self.malformed("unterminated /* comment", start, usize::MAX),
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            return Ok(false);
        }
        self.blanks += spaces.max(1);
        Ok(true)
    }

    /// A string whose quote is the last of the next `opening` bytes, with those that go on behind a newline.
    fn string(
        &mut self,
        start: usize,
        opening: usize,
        escapes: bool,
        plainly: &str,
    ) -> Result<(), Malformed> {
        self.at += opening;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'\''), Some(b'\'')) => self.at += 2,
                (Some(b'\''), _) => {
                    self.at += 1;
                    if !self.goes_on() {
                        break;
                    }
                }
                (Some(b'\\'), Some(_)) if escapes => self.at += 2,
                (Some(_), _) => self.at += 1,
                (None, _) => return self.malformed("unterminated quoted string", start, usize::MAX),
            }
        }
        // A byte that was escaped may have been the first of several.
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
        self.push(start, Some(plainly));
        Ok(())
    }

    /// Whether behind space with a newline another quote opens; it is passed over then.
    fn goes_on(&mut self) -> bool {
        let (start, blanks) = (self.at, self.blanks);
        while let Ok(true) = self.skip_space() {}
        let space = self.text.get(start..self.at).unwrap_or_default();
        let goes_on = space.contains(['\n', '\r']) && !space.contains("/*") && self.peek(0) == Some(b'\'');
        if goes_on {
            self.at += 1;
        } else {
            (self.at, self.blanks) = (start, blanks);
        }
        goes_on
    }

    fn quoted_name(&mut self, start: usize) -> Result<(), Malformed> {
        self.at += 1;
        let inside = self.at;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'"'), Some(b'"')) => self.at += 2,
                (Some(b'"'), _) => break,
                (Some(_), _) => self.at += 1,
                (None, _) => return self.malformed("unterminated quoted identifier", start, usize::MAX),
            }
        }
        self.at += 1;
        if self.at == inside + 1 {
            return self.malformed("zero-length delimited identifier", start, self.at);
        }
        self.push(start, Some("\"x\""));
        Ok(())
    }

    /// UESCAPE 'c' belongs to the literal or name before it.
    fn escape_clause(&mut self) -> Result<(), Malformed> {
        let end = self.at;
        while self.skip_space()? {}
        let word = self.run(0, continues_name);
        let is_clause = self.rest().get(..word).is_some_and(|word| word.eq_ignore_ascii_case(b"uescape"));
        if !is_clause {
            self.at = end;
            return Ok(());
        }
        self.at += word;
        while self.skip_space()? {}
        let start = self.at;
        if self.peek(0) != Some(b'\'') {
            let message = "UESCAPE must be followed by a simple string literal";
            return self.malformed(message, start, start + 1);
        }
        let (length, pieces) = (self.made.text.len(), self.made.pieces.len());
        self.string(start, 1, false, "'x'")?;
        self.made.text.truncate(length);
        self.made.pieces.truncate(pieces);
        Ok(())
    }

    /// `$1`, or a string between dollars.
    fn dollar(&mut self, start: usize) -> Result<(), Malformed> {
        let digits = self.run(1, |byte| byte.is_ascii_digit());
        if digits > 0 {
            self.at += 1 + digits;
            if self.peek(0).is_some_and(begins_name) {
                let end = self.at + self.run(0, continues_name);
                return self.malformed("trailing junk after parameter", start, end);
            }
            // A number of any size is one for the grammar.
            self.push(start, Some("$1"));
            return Ok(());
        }
        let tag = 1 + self.run(1, |byte| continues_name(byte) && byte != b'$');
        if self.peek(tag) != Some(b'$') {
            return self.malformed(SYNTAX_ERROR, start, start + 1);
        }
        let quote = self.text.get(start..=start + tag).unwrap_or_default();
        let inside = start + quote.len();
        let end = self.text.get(inside..).and_then(|rest| rest.find(quote));
        let Some(end) = end else {
            return self.malformed("unterminated dollar-quoted string", start, usize::MAX);
        };
        self.at = inside + end + quote.len();
        self.push(start, Some("'x'"));
        Ok(())
    }

    fn number(&mut self, start: usize) -> Result<(), Malformed> {
        let digits = |lexer: &Self, from| lexer.run(from, |byte: u8| byte.is_ascii_digit());
        self.at += digits(self, 0);
        // Two dots end a number and stand for themselves.
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            self.at += 1;
            self.at += digits(self, 0);
        }
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            let exponent = digits(self, 1 + sign);
            self.at += if exponent > 0 { 1 + sign + exponent } else { 0 };
        }
        if self.peek(0).is_some_and(begins_name) {
            let end = self.at + self.run(0, continues_name);
            return self.malformed("trailing junk after numeric literal", start, end);
        }
        let written = self.text.get(start..self.at).unwrap_or_default();
        let plainly = (written.len() > NAME_BYTES_MAX).then_some("1.0");
        self.push(start, plainly);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Plain, count_tokens};

    fn plain(text: &str) -> String {
        let plain = Plain::of(text);
        assert_eq!(plain.malformed, None, "{text}");
        plain.text
    }

    #[test]
    fn what_means_nothing_to_a_grammar_goes() {
        assert_eq!(
            plain("select  'a''b' /* x /* y */ */, e'\\'' -- z\n, \"Ä\"\"\" , ünï"),
            "select 'x' , 'x' , \"x\" , \"x\""
        );
        assert_eq!(plain("'a' \n 'b' , 'c' 'd'"), "'x' , 'x' 'x'");
        assert_eq!(plain("U&'d!0061' UESCAPE '!' as u&\"x\""), "'x' as \"x\"");
        assert_eq!(plain("$1, $a$ ' $b$ $a$ $$$$"), "$1, 'x' 'x'");
        assert_eq!(plain("U&E'a' u&$$b$$"), "U& 'x' u& 'x'");
        assert_eq!(plain("1.5e-3+.5-1. a<>-1--x"), "1.5e-3+.5-1. a<>-1");
        assert_eq!(plain("b'01' X'1f' n'x'"), "b'1' x'1' nchar 'x'");
    }

    #[test]
    fn malformed_tokens_are_told_as_postgresql_tells_them() {
        for (text, message, start) in [
            ("select 'a", "unterminated quoted string", 7),
            ("select /* a", "unterminated /* comment", 7),
            ("select \"a", "unterminated quoted identifier", 7),
            ("select $a$ $b$", "unterminated dollar-quoted string", 7),
            ("select 123abc", "trailing junk after numeric literal", 7),
            ("select 1_000", "trailing junk after numeric literal", 7),
            ("select 0.0e+a", "trailing junk after numeric literal", 7),
            ("select $1a", "trailing junk after parameter", 7),
            ("select {", "syntax error", 7),
            ("select \"\"", "zero-length delimited identifier", 7),
            ("select a..b", "syntax error", 8),
            ("select 1..2", "syntax error", 8),
        ] {
            let malformed = Plain::of(text).malformed.unwrap_or_else(|| panic!("{text} is sound"));
            assert_eq!((malformed.message, malformed.start), (message, start), "{text}");
        }
    }

    #[test]
    fn what_the_parser_keeps_is_counted() {
        for (text, tokens) in [
            ("select 1", 3),
            ("select   /* a b */\t'a b c', $$ a b $$ -- a b", 12),
            ("a<>b", 4),
            ("'a' \n\n 'b'", 5),
            ("e'\\'  '  ", 3),
            ("1abc  {  \u{b}  ", 9),
            ("'a    ", 1),
        ] {
            assert_eq!(count_tokens(text), tokens, "{text}");
        }
    }

    #[test]
    fn places_come_back() {
        let text = "select /* x */ 'abc' ,, nosuch";
        let plain = Plain::of(text);
        let comma = plain.text.find(",,").unwrap();
        assert_eq!(plain.place(comma + 1), Some((22, 23)));
        assert_eq!(plain.place(plain.text.len()), None);
        assert_eq!(plain.find(15), plain.text.find("'x'").unwrap());
    }
}
