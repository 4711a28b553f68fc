//! Literals and quoted names of SQL: what they hold, and how they are written with something else.

use super::skip_blanks;
use std::borrow::Cow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `'...'`, and those with a letter before that means nothing here: B, N, X.
    Plain,
    /// `E'...'`
    Escapes,
    /// `U&'...'`, with the sign before a character's number.
    Unicode(char),
    /// `$tag$...$tag$`
    Dollar,
    /// `"..."`
    Name,
}

/// A literal with those that continue it on further lines, or a name in quotes.
#[derive(Clone, Debug)]
pub(super) struct Literal<'t> {
    kind: Kind,
    /// What stands before what it holds: the quote, with what belongs to it.
    opening: &'t str,
    /// The written contents of its pieces.
    pieces: Vec<&'t str>,
    /// The text goes on behind it.
    closed: bool,
    /// Bytes of all.
    pub(super) len: usize,
}

impl<'t> Literal<'t> {
    /// The one that begins here.
    pub(super) fn at(rest: &'t str) -> Option<Self> {
        let (kind, opening) = opening(rest)?;
        if kind == Kind::Dollar {
            let body = rest.get(opening.len()..)?;
            let end = body.find(opening);
            let held = body.get(..end.unwrap_or(body.len()))?;
            let len = end.map_or(rest.len(), |end| opening.len() * 2 + end);
            return Some(Self { kind, opening, pieces: vec![held], closed: end.is_some(), len });
        }
        let mut literal = Self { kind, opening, pieces: Vec::new(), closed: true, len: opening.len() };
        loop {
            let body = rest.get(literal.len..)?;
            let end = literal.end_of_piece(body);
            literal.pieces.push(body.get(..end.unwrap_or(body.len()))?);
            let Some(end) = end else {
                literal.closed = false;
                literal.len = rest.len();
                return Some(literal);
            };
            literal.len += end + 1;
            match continuation(rest, literal.len).filter(|_| kind != Kind::Name) {
                Some(next) => literal.len = next,
                None => break,
            }
        }
        if let Kind::Unicode(_) = kind
            && let Some((escape, len)) = uescape(rest.get(literal.len..)?)
        {
            literal.kind = Kind::Unicode(escape);
            literal.len += len;
        }
        Some(literal)
    }

    fn quote(&self) -> char {
        if self.kind == Kind::Name { '"' } else { '\'' }
    }

    /// Where the quote stands that ends a piece.
    fn end_of_piece(&self, body: &str) -> Option<usize> {
        let mut chars = body.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' && self.kind == Kind::Escapes {
                chars.next();
            } else if c == self.quote() && chars.next_if(|(_, next)| *next == c).is_none() {
                return Some(at);
            }
        }
        None
    }

    pub(super) fn is_name(&self) -> bool {
        self.kind == Kind::Name
    }

    /// Whether a backslash stands before the quote that ends it, or one within it, without being an escape.
    pub(super) fn has_quote_behind_backslash(&self) -> bool {
        let is_other = |piece: &str| piece.ends_with('\\') || piece.contains("\\'");
        self.kind == Kind::Plain && self.pieces.iter().any(|piece| is_other(piece))
    }

    /// What it holds.
    pub(super) fn held(&self) -> Cow<'t, str> {
        let quote = self.quote();
        let doubled = [quote, quote].iter().collect::<String>();
        match (self.kind, self.pieces.as_slice()) {
            (Kind::Dollar, [held]) => Cow::Borrowed(*held),
            (Kind::Plain | Kind::Name, [held]) if !held.contains(quote) => Cow::Borrowed(*held),
            (Kind::Escapes, pieces) => Cow::Owned(pieces.iter().map(|piece| escapes_read(piece)).collect()),
            (Kind::Unicode(escape), pieces) => {
                let read = |piece: &&str| unicode_read(&piece.replace(&doubled, "'"), escape);
                Cow::Owned(pieces.iter().map(read).collect())
            }
            (_, pieces) => Cow::Owned(pieces.concat().replace(&doubled, quote.encode_utf8(&mut [0; 4]))),
        }
    }

    /// One of its kind that holds this.
    pub(super) fn written(&self, held: &str) -> String {
        let quote = self.quote();
        let mut out = self.opening.to_owned();
        if self.kind == Kind::Dollar {
            out.push_str(held);
        } else {
            for c in held.chars() {
                let escapes = matches!(self.kind, Kind::Escapes | Kind::Unicode(_));
                if c == quote || (escapes && c == '\\') {
                    out.push(c);
                }
                out.push(c);
            }
        }
        match (self.closed, self.kind) {
            (false, _) => {}
            (true, Kind::Dollar) => out.push_str(self.opening),
            (true, _) => out.push(quote),
        }
        out
    }
}

/// What begins a literal or a quoted name.
fn opening(rest: &str) -> Option<(Kind, &str)> {
    let bytes = rest.as_bytes();
    let (kind, len) = match (bytes.first()?, bytes.get(1), bytes.get(2)) {
        (b'\'', ..) => (Kind::Plain, 1),
        (b'"', ..) => (Kind::Name, 1),
        (b'e' | b'E', Some(b'\''), _) => (Kind::Escapes, 2),
        (b'u' | b'U', Some(b'&'), Some(b'\'')) => (Kind::Unicode('\\'), 3),
        (b'$', ..) => {
            let tag = rest.get(1..)?.find('$')?;
            let name = rest.get(1..=tag)?;
            let is_tag = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii())
                && !name.starts_with(|c: char| c.is_ascii_digit());
            return is_tag.then(|| (Kind::Dollar, rest.get(..tag + 2).unwrap_or_default()));
        }
        _ => return None,
    };
    Some((kind, rest.get(..len)?))
}

/// Where the contents of the next piece begin: its quote stands on another line than the one that ends at
/// `at`.
fn continuation(text: &str, at: usize) -> Option<usize> {
    let next = skip_blanks(text, at);
    let between = text.get(at..next)?;
    (between.contains(['\n', '\r']) && text.get(next..)?.starts_with('\'')).then_some(next + 1)
}

/// `UESCAPE 'c'`: the sign, and the length of it all.
fn uescape(rest: &str) -> Option<(char, usize)> {
    const WORD: &str = "uescape";
    let word = skip_blanks(rest, 0);
    let is_word = rest.get(word..word + WORD.len())?.eq_ignore_ascii_case(WORD);
    let at = skip_blanks(rest, word + WORD.len());
    let mut chars = rest.get(at..)?.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some(sign), Some('\'')) if is_word => Some((sign, at + 2 + sign.len_utf8())),
        _ => None,
    }
}

type Chars<'t> = std::iter::Peekable<std::str::Chars<'t>>;

/// A number of at most so many digits; None without any.
fn number(chars: &mut Chars<'_>, base: u32, digits: usize) -> Option<u32> {
    let mut found = None;
    for _ in 0..digits {
        let Some(digit) = chars.next_if(|c| c.is_digit(base)).and_then(|c| c.to_digit(base)) else { break };
        found = Some(found.unwrap_or(0_u32).wrapping_mul(base).wrapping_add(digit));
    }
    found
}

/// What a piece of `E'...'` holds.
fn escapes_read(piece: &str) -> String {
    let (mut out, mut chars) = (String::new(), piece.chars().peekable());
    while let Some(c) = chars.next() {
        if c == '\'' {
            chars.next_if_eq(&'\'');
        }
        if c == '\\' { out.extend(escaped(&mut chars)) } else { out.push(c) }
    }
    out
}

/// What a backslash in `E'...'` stands for with what follows it.
fn escaped(chars: &mut Chars<'_>) -> Option<char> {
    let octal = number(chars, 8, 3);
    if octal.is_some() {
        return octal.and_then(char::from_u32);
    }
    let sign = chars.next()?;
    let digits = match sign {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0,
    };
    match (number(chars, 16, digits), sign) {
        (Some(number), _) => char::from_u32(number),
        (None, 'b') => Some('\u{8}'),
        (None, 'f') => Some('\u{c}'),
        (None, 'n') => Some('\n'),
        (None, 'r') => Some('\r'),
        (None, 't') => Some('\t'),
        (None, sign) => Some(sign),
    }
}

/// What a piece of `U&'...'` holds.
fn unicode_read(piece: &str, escape: char) -> String {
    let (mut out, mut chars) = (String::new(), piece.chars().peekable());
    while let Some(c) = chars.next() {
        if c != escape || chars.next_if_eq(&escape).is_some() {
            out.push(c);
            continue;
        }
        let digits = if chars.next_if_eq(&'+').is_some() { 6 } else { 4 };
        out.extend(number(&mut chars, 16, digits).and_then(char::from_u32));
    }
    out
}
