//! The syntax of expressions.

use super::{Constraint, Expression, Node, Set};
use sql_types::pattern::character_class;
use std::iter::Peekable;
use std::str::Chars;

/// The most that a quantifier counts to.
const COUNT_MAX: u32 = 255;
/// Counts that stand in one another multiply: an expression of more rounds is too complex.
const ROUNDS_MAX: u64 = 10_000;
/// What a quantifier without an end counts for.
const ENDLESS: u32 = 10;
/// Parentheses in one another.
const DEPTH_MAX: usize = 100;

const BAD_COUNT: &str = "invalid repetition count(s)";
const BAD_ESCAPE: &str = "invalid escape \\ sequence";
const BAD_OPERAND: &str = "quantifier operand invalid";
const BRACKETS: &str = "brackets [] not balanced";
const PARENTHESES: &str = "parentheses () not balanced";

fn absent(what: &str) -> String {
    format!("{what} are not supported")
}

/// Reads a whole expression.
pub(super) fn expression(text: &str) -> Result<Expression, String> {
    let mut rest = text.strip_prefix("***:").unwrap_or(text);
    if let Some(literal) = text.strip_prefix("***=") {
        let tree = Node::Sequence(literal.chars().map(|c| Node::One(just(c))).collect());
        return Ok(Expression { tree, fold: false, takes_least: false });
    }
    let mut fold = false;
    let options = rest.strip_prefix("(?").and_then(|options| options.split_once(')'));
    if let Some((letters, behind)) = options.filter(|(letters, _)| is_options(letters)) {
        for letter in letters.chars() {
            match letter {
                'i' => fold = true,
                'c' => fold = false,
                other => return Err(format!("embedded option \"{other}\" is not supported")),
            }
        }
        rest = behind;
    }
    let mut reader =
        Reader { rest: rest.chars().peekable(), groups: 0, depth: 0, rounds: 1, takes_least: false };
    let tree = reader.choice()?;
    match reader.rest.next() {
        None => Ok(Expression { tree, fold, takes_least: reader.takes_least }),
        Some(_) => Err(PARENTHESES.to_owned()),
    }
}

fn is_options(letters: &str) -> bool {
    !letters.is_empty() && letters.chars().all(|c| c.is_ascii_lowercase())
}

fn just(c: char) -> Set {
    Set { ranges: vec![(c, c)], negated: false }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    groups: usize,
    depth: usize,
    /// How often the innermost part may have to be looked at.
    rounds: u64,
    takes_least: bool,
}

impl Reader<'_> {
    fn ahead(&self, text: &str) -> bool {
        let mut rest = self.rest.clone();
        text.chars().all(|c| rest.next() == Some(c))
    }

    fn take(&mut self, text: &str) -> bool {
        let is_ahead = self.ahead(text);
        if is_ahead {
            for _ in text.chars() {
                self.rest.next();
            }
        }
        is_ahead
    }

    /// Branches up to a closing parenthesis or the end.
    fn choice(&mut self) -> Result<Node, String> {
        let first = self.branch()?;
        if !self.ahead("|") {
            return Ok(first);
        }
        let mut branches = vec![first];
        while self.take("|") {
            branches.push(self.branch()?);
        }
        Ok(Node::Choice(branches))
    }

    fn branch(&mut self) -> Result<Node, String> {
        let (mut parts, mut plain) = (Vec::new(), Vec::new());
        self.skip_comments()?;
        while !matches!(self.rest.peek(), None | Some('|' | ')')) {
            let part = self.quantified()?;
            if part.has_group() {
                if !plain.is_empty() {
                    parts.push(Node::Sequence(std::mem::take(&mut plain)));
                }
                parts.push(part);
            } else {
                plain.push(part);
            }
        }
        if !plain.is_empty() {
            parts.push(Node::Sequence(plain));
        }
        Ok(Node::Sequence(parts))
    }

    fn quantified(&mut self) -> Result<Node, String> {
        let rounds = std::mem::replace(&mut self.rounds, 1);
        let of = self.atom()?;
        self.skip_comments()?;
        let (least, most) = match self.rest.peek().copied() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') if self.counts_ahead() => self.counts()?,
            _ => {
                self.rounds = self.rounds.max(rounds);
                return Ok(of);
            }
        };
        if matches!(of, Node::At(_)) {
            return Err(BAD_OPERAND.to_owned());
        }
        self.rest.next();
        self.takes_least |= self.take("?");
        self.skip_comments()?;
        if matches!(self.rest.peek(), Some('*' | '+' | '?')) || self.counts_ahead() {
            return Err(BAD_OPERAND.to_owned());
        }
        self.rounds = self.rounds.saturating_mul(u64::from(most.unwrap_or(least.max(ENDLESS)).max(1)));
        if self.rounds > ROUNDS_MAX {
            return Err("regular expression is too complex".to_owned());
        }
        self.rounds = self.rounds.max(rounds);
        match (least, most) {
            (_, Some(0)) => Ok(Node::Sequence(Vec::new())),
            (1, Some(1)) => Ok(of),
            _ => Ok(Node::Repeat { of: Box::new(of), least, most }),
        }
    }

    fn counts_ahead(&self) -> bool {
        let mut rest = self.rest.clone();
        rest.next() == Some('{') && rest.next().is_some_and(|c| c.is_ascii_digit())
    }

    fn skip_comments(&mut self) -> Result<(), String> {
        while self.take("(?#") {
            while self.rest.next_if(|c| *c != ')').is_some() {}
            self.rest.next().ok_or(PARENTHESES)?;
        }
        Ok(())
    }

    fn number(&mut self) -> Option<u32> {
        let mut digits = String::new();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        digits.parse().ok().filter(|count| *count <= COUNT_MAX)
    }

    /// `{m}`, `{m,}` or `{m,n}`, up to before the closing brace.
    fn counts(&mut self) -> Result<(u32, Option<u32>), String> {
        self.rest.next();
        let least = self.number().ok_or(BAD_COUNT)?;
        let most = if !self.take(",") {
            Some(least)
        } else if self.ahead("}") {
            None
        } else {
            Some(self.number().ok_or(BAD_COUNT)?)
        };
        if !self.ahead("}") || most.is_some_and(|most| most < least) {
            return Err(BAD_COUNT.to_owned());
        }
        Ok((least, most))
    }

    fn atom(&mut self) -> Result<Node, String> {
        match self.rest.next() {
            Some('(') => self.parenthesised(),
            Some('[') => self.bracket().map(Node::One),
            Some('.') => Ok(Node::One(Set { ranges: Vec::new(), negated: true })),
            Some('^') => Ok(Node::At(Constraint::Start)),
            Some('$') => Ok(Node::At(Constraint::End)),
            Some('\\') => self.escape(),
            Some('*' | '+' | '?') => Err(BAD_OPERAND.to_owned()),
            Some('{') if self.rest.peek().is_some_and(char::is_ascii_digit) => Err(BAD_OPERAND.to_owned()),
            Some(c) => Ok(Node::One(just(c))),
            None => Ok(Node::Sequence(Vec::new())),
        }
    }

    fn parenthesised(&mut self) -> Result<Node, String> {
        if ["?=", "?!", "?<=", "?<!"].iter().any(|look| self.ahead(look)) {
            return Err(absent("look-around constraints"));
        }
        let number = if self.take("?:") {
            None
        } else if self.ahead("?") {
            return Err(BAD_OPERAND.to_owned());
        } else {
            self.groups += 1;
            Some(self.groups)
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("regular expression is too complex".to_owned());
        }
        let inner = self.choice()?;
        self.depth -= 1;
        if !self.take(")") {
            return Err(PARENTHESES.to_owned());
        }
        Ok(number.map_or(inner.clone(), |number| Node::Group(number, Box::new(inner))))
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<Node, String> {
        let constraint = match self.rest.peek() {
            Some('A') => Constraint::Start,
            Some('Z') => Constraint::End,
            Some('m') => Constraint::WordStart,
            Some('M') => Constraint::WordEnd,
            Some('y') => Constraint::WordBound,
            Some('Y') => Constraint::NoWordBound,
            Some('1'..='9') => return Err(absent("back references")),
            _ => return self.escaped_set().map(Node::One),
        };
        self.rest.next();
        Ok(Node::At(constraint))
    }

    /// The same inside of brackets.
    fn escaped_set(&mut self) -> Result<Set, String> {
        let letter = self.rest.peek().copied().ok_or(BAD_ESCAPE)?;
        let class = match letter.to_ascii_lowercase() {
            'd' => "digit",
            's' => "space",
            'w' => "word",
            _ => return self.escaped_character().map(just),
        };
        self.rest.next();
        Ok(Set {
            ranges: character_class(class).unwrap_or_default().to_vec(),
            negated: letter.is_ascii_uppercase(),
        })
    }

    fn escaped_character(&mut self) -> Result<char, String> {
        let letter = self.rest.next().ok_or(BAD_ESCAPE)?;
        Ok(match letter {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'B' => '\\',
            'e' => '\u{1b}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'u' => self.code(16, 4, 4)?,
            'U' => self.code(16, 8, 8)?,
            'x' => self.code(16, 1, 255)?,
            '0' => self.code(8, 0, 2)?,
            'c' => {
                let low = self.rest.next().ok_or(BAD_ESCAPE)? as u32 & 0x1f;
                char::from_u32(low).ok_or(BAD_ESCAPE)?
            }
            c if c.is_ascii_alphanumeric() => return Err(BAD_ESCAPE.to_owned()),
            c => c,
        })
    }

    /// A character by its number in so many digits.
    fn code(&mut self, radix: u32, least: usize, most: usize) -> Result<char, String> {
        let (mut code, mut digits) = (0_u32, 0);
        while let Some(digit) = self.rest.peek().and_then(|c| c.to_digit(radix)).filter(|_| digits < most) {
            code = code.checked_mul(radix).and_then(|code| code.checked_add(digit)).ok_or(BAD_ESCAPE)?;
            digits += 1;
            self.rest.next();
        }
        let found = char::from_u32(code).filter(|_| digits >= least);
        found.ok_or_else(|| BAD_ESCAPE.to_owned())
    }

    /// A set of characters behind its opening bracket.
    fn bracket(&mut self) -> Result<Set, String> {
        let negated = self.take("^");
        let mut ranges = Vec::new();
        let mut is_first = true;
        loop {
            if !is_first && self.take("]") {
                return Ok(Set { ranges, negated });
            }
            is_first = false;
            let first = match self.rest.next().ok_or(BRACKETS)? {
                '[' if matches!(self.rest.peek(), Some('.' | '=')) => {
                    return Err(absent("collating elements"));
                }
                '[' if self.take(":") => {
                    ranges.extend(self.class()?);
                    continue;
                }
                '\\' => {
                    let set = self.escaped_set()?;
                    match set.ranges.as_slice() {
                        [(first, last)] if !set.negated && first == last => *first,
                        _ => {
                            ranges.extend(if set.negated { others(set.ranges) } else { set.ranges });
                            continue;
                        }
                    }
                }
                c => c,
            };
            let last = self.end_of_range()?.unwrap_or(first);
            if last < first {
                return Err("invalid character range".to_owned());
            }
            ranges.push((first, last));
        }
    }

    /// The last character of a range, if one is ahead.
    fn end_of_range(&mut self) -> Result<Option<char>, String> {
        if !self.ahead("-") || self.ahead("-]") {
            return Ok(None);
        }
        self.rest.next();
        match self.rest.next().ok_or(BRACKETS)? {
            '[' if matches!(self.rest.peek(), Some('.' | '=')) => Err(absent("collating elements")),
            '[' if self.ahead(":") => Err("invalid character range".to_owned()),
            '\\' if matches!(self.rest.peek(), Some('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                Err("invalid character range".to_owned())
            }
            '\\' => self.escaped_character().map(Some),
            c => Ok(Some(c)),
        }
    }

    /// A class behind `[:`.
    fn class(&mut self) -> Result<Vec<(char, char)>, String> {
        let mut name = String::new();
        while let Some(c) = self.rest.next_if(|c| *c != ':' && *c != ']') {
            name.push(c);
        }
        if !self.take(":]") {
            return Err(BRACKETS.to_owned());
        }
        let class = character_class(&name).ok_or_else(|| "invalid character class".to_owned())?;
        Ok(class.to_vec())
    }
}

/// All characters but these.
fn others(mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    ranges.sort_unstable();
    let (mut from, mut found) = (0_u32, Vec::new());
    let mut push = |first: u32, last: u32| {
        // Surrogates are no characters.
        for (first, last) in [(first, last.min(0xd7ff)), (first.max(0xe000), last)] {
            if let (true, Some(first), Some(last)) =
                (first <= last, char::from_u32(first), char::from_u32(last))
            {
                found.push((first, last));
            }
        }
    };
    for (first, last) in ranges {
        if let Some(before) = (first as u32).checked_sub(1) {
            push(from, before);
        }
        from = last as u32 + 1;
    }
    push(from, char::MAX as u32);
    found
}
