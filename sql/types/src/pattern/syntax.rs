//! The syntax of PostgreSQL's advanced regular expressions (the manual's section "POSIX Regular
//! Expressions").
//! Letters, digits, blanks, words and the two cases are those of ASCII, as collation C has them.

use super::node::{Constraint, Greed, Node};
use super::options::Options;
use super::set::{Set, character_class};
use crate::error::{Error, Result};
use sqlstate::SqlState;
use std::str::Chars;

/// PostgreSQL's message for an expression that would take too much memory.
const TOO_COMPLEX: &str = "regular expression is too complex";

/// Parentheses in one another.
const DEPTH_MAX: u32 = 200;

/// The most that a quantifier counts to.
const COUNT_MAX: u32 = 255;

const BAD_COUNT: &str = "invalid repetition count(s)";
const BAD_ESCAPE: &str = "invalid escape \\ sequence";
const BAD_OPERAND: &str = "quantifier operand invalid";
const BAD_OPTION: &str = "invalid embedded option";
const BAD_RANGE: &str = "invalid character range";
const BRACKETS: &str = "brackets [] not balanced";
const PARENTHESES: &str = "parentheses () not balanced";

/// 2201B with one of PostgreSQL's reasons.
fn wrong(reason: &str) -> Error {
    Error::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {reason}"))
}

/// 0A000 for a part of PostgreSQL's syntax.
pub(super) fn absent(what: &str) -> Error {
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("regular expressions with {what} are not supported"))
}

pub(super) fn too_complex() -> Error {
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, TOO_COMPLEX)
}

/// What an escape stands for.
enum Escape {
    Character(u32),
    Class(Set),
    Constraint(Constraint),
    /// What a group of this number stands for.
    Reference(usize),
}

/// An expression, and how many groups it has.
///
/// # Errors
///
/// 2201B if it is not well formed, 0A000 for what is absent, 54000 if it is too complex.
pub(super) fn read(pattern: &str, mut options: Options) -> Result<(Node, usize)> {
    let mut rest = pattern;
    if let Some(directed) = pattern.strip_prefix("***").filter(|_| !options.literal) {
        rest = directed.get(1..).unwrap_or_default();
        match directed.chars().next() {
            Some('=') => options.literal = true,
            Some(':') => {}
            _ => return Err(wrong(BAD_OPERAND)),
        }
    }
    if !options.literal
        && let Some(letters) = rest.strip_prefix("(?")
        && letters.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        let (letters, behind) = letters.split_once(')').ok_or_else(|| wrong(BAD_OPTION))?;
        for letter in letters.chars() {
            if !options.take(letter)? {
                return Err(wrong(BAD_OPTION));
            }
        }
        rest = behind;
    }
    let mut reader = Reader { rest: rest.chars(), options, groups: 0, depth: 0 };
    if options.literal {
        let all = rest.chars().map(|c| reader.character(u32::from(c))).collect();
        return Ok((Node::Sequence(all), 0));
    }
    let node = reader.choice()?;
    if reader.peek().is_some() { Err(wrong(PARENTHESES)) } else { Ok((node, reader.groups)) }
}

/// How often something is to be there.
struct Quantifier {
    least: u32,
    most: Option<u32>,
    greed: Option<Greed>,
}

struct Reader<'a> {
    rest: Chars<'a>,
    options: Options,
    /// Groups that have begun.
    groups: usize,
    depth: u32,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest.as_str().strip_prefix(text);
        if let Some(behind) = found {
            self.rest = behind.chars();
        }
        found.is_some()
    }

    /// Branches up to a closing parenthesis or the end.
    fn choice(&mut self) -> Result<Node> {
        let first = self.branch()?;
        if self.peek() != Some('|') {
            return Ok(first);
        }
        let mut branches = vec![first];
        while self.take("|") {
            branches.push(self.branch()?);
        }
        Ok(Node::Choice(branches))
    }

    fn branch(&mut self) -> Result<Node> {
        let mut parts = Vec::new();
        loop {
            self.skip_blanks();
            if matches!(self.peek(), None | Some('|' | ')')) {
                return Ok(Node::Sequence(parts));
            }
            parts.push(self.quantified()?);
        }
    }

    /// Comments, and blanks where they are not part of the expression.
    fn skip_blanks(&mut self) {
        loop {
            let text = self.rest.as_str();
            let mut behind = text;
            if self.options.expanded {
                behind = behind.trim_start_matches(|c: char| matches!(c, '\t'..='\r' | ' '));
                if let Some(comment) = behind.strip_prefix('#') {
                    behind = comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or_default();
                }
            }
            if let Some(comment) = behind.strip_prefix("(?#") {
                behind = comment.split_once(')').map_or("", |(_, behind)| behind);
            }
            self.rest = behind.chars();
            if behind.len() == text.len() {
                break;
            }
        }
    }

    fn quantified(&mut self) -> Result<Node> {
        let of = self.atom()?;
        let Some(Quantifier { least, most, greed }) = self.quantifier()? else { return Ok(of) };
        if matches!(of, Node::At(_)) || self.quantifier()?.is_some() {
            return Err(wrong(BAD_OPERAND));
        }
        if most == Some(0) {
            return Ok(Node::nothing());
        }
        Ok(Node::Repeat { of: Box::new(of), least, most, greed })
    }

    /// The quantifier that is ahead, if one is.
    fn quantifier(&mut self) -> Result<Option<Quantifier>> {
        self.skip_blanks();
        let (least, most, has_greed) = match self.peek() {
            Some('*') => (0, None, true),
            Some('+') => (1, None, true),
            Some('?') => (0, Some(1), true),
            Some('{') if self.counts_ahead() => self.counts()?,
            _ => return Ok(None),
        };
        self.rest.next();
        let greed = if self.take("?") { Greed::Least } else { Greed::Most };
        Ok(Some(Quantifier { least, most, greed: has_greed.then_some(greed) }))
    }

    fn counts_ahead(&mut self) -> bool {
        let before = self.rest.clone();
        self.rest.next();
        self.skip_blanks();
        let found = self.peek().is_some_and(|c| c.is_ascii_digit());
        self.rest = before;
        found
    }

    /// `{m}`, `{m,}` or `{m,n}`, up to before the closing brace.
    fn counts(&mut self) -> Result<(u32, Option<u32>, bool)> {
        self.rest.next();
        self.skip_blanks();
        let least = self.count()?;
        let (mut most, has_most) = (Some(least), self.take(","));
        if has_most {
            self.skip_blanks();
            let is_count = self.peek().is_some_and(|c| c.is_ascii_digit());
            most = if is_count { Some(self.count()?) } else { None };
        }
        if self.peek() != Some('}') {
            let reason = if self.peek().is_none() { "braces {} not balanced" } else { BAD_COUNT };
            return Err(wrong(reason));
        }
        if most.is_some_and(|most| most < least) {
            return Err(wrong(BAD_COUNT));
        }
        Ok((least, most, has_most))
    }

    fn count(&mut self) -> Result<u32> {
        let mut count = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.rest.next();
            count = count * 10 + digit;
            if count > COUNT_MAX {
                return Err(wrong(BAD_COUNT));
            }
            self.skip_blanks();
        }
        Ok(count)
    }

    fn atom(&mut self) -> Result<Node> {
        let starts_count = self.peek() == Some('{') && self.counts_ahead();
        let Some(c) = self.rest.next() else { return Ok(Node::nothing()) };
        Ok(match c {
            '\\' => match self.escape()? {
                Escape::Character(c) => self.character(c),
                Escape::Class(set) => Node::One(set),
                Escape::Constraint(constraint) => Node::At(constraint),
                Escape::Reference(group) if group <= self.groups => return Err(absent("back references")),
                Escape::Reference(_) => return Err(wrong("invalid backreference number")),
            },
            '[' if self.take("[:<:]]") => Node::At(Constraint::WordStart),
            '[' if self.take("[:>:]]") => Node::At(Constraint::WordEnd),
            '[' => self.bracket()?,
            '(' => self.parenthesis()?,
            '^' if self.options.lines_anchor => Node::At(Constraint::LineStart),
            '^' => Node::At(Constraint::Start),
            '$' if self.options.lines_anchor => Node::At(Constraint::LineEnd),
            '$' => Node::At(Constraint::End),
            '.' => {
                let none = if self.options.lines_stop { Set::just(u32::from('\n')) } else { Set::default() };
                Node::One(none.others())
            }
            '*' | '+' | '?' => return Err(wrong(BAD_OPERAND)),
            '{' if starts_count => return Err(wrong(BAD_OPERAND)),
            c => self.character(u32::from(c)),
        })
    }

    fn character(&self, c: u32) -> Node {
        let mut set = Set::just(c);
        if self.options.fold {
            set.fold();
        }
        Node::One(set)
    }

    /// Behind an opening parenthesis.
    fn parenthesis(&mut self) -> Result<Node> {
        if ["?=", "?!", "?<=", "?<!"].iter().any(|look| self.rest.as_str().starts_with(look)) {
            return Err(absent("look-around"));
        }
        let is_group = !self.take("?:");
        if is_group && self.peek() == Some('?') {
            return Err(wrong(BAD_OPERAND));
        }
        self.groups += usize::from(is_group);
        let number = Some(self.groups).filter(|_| is_group);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_complex());
        }
        let inner = self.choice()?;
        self.depth -= 1;
        if !self.take(")") {
            return Err(wrong(PARENTHESES));
        }
        Ok(match number {
            Some(number) => Node::Group(number, Box::new(inner)),
            None => inner,
        })
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Result<Escape> {
        let letter = self.rest.next().ok_or_else(|| wrong(BAD_ESCAPE))?;
        let class = |name| Set::of(character_class(name).unwrap_or_default());
        Ok(match letter {
            'A' => Escape::Constraint(Constraint::Start),
            'Z' => Escape::Constraint(Constraint::End),
            'm' => Escape::Constraint(Constraint::WordStart),
            'M' => Escape::Constraint(Constraint::WordEnd),
            'y' => Escape::Constraint(Constraint::WordBound),
            'Y' => Escape::Constraint(Constraint::NoWordBound),
            'd' => Escape::Class(class("digit")),
            'D' => Escape::Class(class("digit").others()),
            's' => Escape::Class(class("space")),
            'S' => Escape::Class(class("space").others()),
            'w' => Escape::Class(class("word")),
            'W' => Escape::Class(class("word").others()),
            // More than one digit are a reference only where there is such a group.
            '1'..='9' => match self.decimal(letter) {
                (group, digits) if digits == 1 || group <= self.groups => {
                    for _ in 1..digits {
                        self.rest.next();
                    }
                    Escape::Reference(group)
                }
                _ => Escape::Character(self.octal(letter)?),
            },
            _ => Escape::Character(self.escaped_character(letter)?),
        })
    }

    fn escaped_character(&mut self, letter: char) -> Result<u32> {
        Ok(match letter {
            'a' => 0x7,
            'b' => 0x8,
            'B' => u32::from('\\'),
            'c' => u32::from(self.rest.next().ok_or_else(|| wrong(BAD_ESCAPE))?) & 0x1f,
            'e' => 0x1b,
            'f' => 0xc,
            'n' => u32::from('\n'),
            'r' => u32::from('\r'),
            't' => u32::from('\t'),
            'u' => self.number(16, 4, 4)?,
            'U' => self.number(16, 8, 8)?,
            'v' => 0xb,
            'x' => self.number(16, 1, 255)?,
            '0' => self.octal(letter)?,
            c if c.is_ascii_alphanumeric() => return Err(wrong(BAD_ESCAPE)),
            c => u32::from(c),
        })
    }

    /// The number that these digits and those ahead are in decimal.
    fn decimal(&self, first: char) -> (usize, usize) {
        let ahead = self.rest.clone().take_while(char::is_ascii_digit);
        [first].into_iter().chain(ahead).fold((0, 0), |(number, count), digit| {
            let digit = digit as usize - '0' as usize;
            (usize::saturating_mul(number, 10).saturating_add(digit), count + 1)
        })
    }

    /// A character by its octal number: a third digit that would leave a byte stands for itself.
    fn octal(&mut self, first: char) -> Result<u32> {
        let mut number = first.to_digit(8).ok_or_else(|| wrong(BAD_ESCAPE))?;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            if number * 8 + digit > 0xff {
                break;
            }
            number = number * 8 + digit;
            self.rest.next();
        }
        Ok(number)
    }

    /// A character by its number in so many digits.
    fn number(&mut self, radix: u32, least: usize, most: usize) -> Result<u32> {
        let (mut number, mut digits) = (0_u32, 0);
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)).filter(|_| digits < most) {
            number = number.wrapping_mul(radix).wrapping_add(digit);
            digits += 1;
            self.rest.next();
        }
        // PostgreSQL counts characters up to here, beyond Unicode.
        let found = Some(number).filter(|number| digits >= least && *number <= 0x7fff_fffe);
        found.ok_or_else(|| wrong(BAD_ESCAPE))
    }

    /// Behind an opening bracket.
    fn bracket(&mut self) -> Result<Node> {
        let negated = self.take("^");
        let mut set = Set::default();
        let mut is_first = true;
        loop {
            if !is_first && self.take("]") {
                break;
            }
            match self.member(is_first)? {
                Escape::Character(first) => {
                    let last = self.end_of_range()?.unwrap_or(first);
                    if last < first {
                        return Err(wrong(BAD_RANGE));
                    }
                    set.0.push((first, last));
                }
                Escape::Class(class) => set.0.extend(class.0),
                Escape::Constraint(_) | Escape::Reference(_) => return Err(wrong(BAD_ESCAPE)),
            }
            is_first = false;
        }
        if self.options.fold {
            set.fold();
        }
        if negated && self.options.lines_stop {
            set.0.push((u32::from('\n'), u32::from('\n')));
        }
        Ok(Node::One(if negated { set.others() } else { set }))
    }

    /// A character or a class within brackets.
    fn member(&mut self, is_first: bool) -> Result<Escape> {
        let c = self.rest.next().ok_or_else(|| wrong(BRACKETS))?;
        Ok(match c {
            '\\' => self.escape()?,
            '[' => match self.delimited()? {
                Some((':', name)) => Escape::Class(named_class(name)?),
                Some((kind, name)) => {
                    let element = collating_element(name)?;
                    if kind == '=' { Escape::Class(Set::just(element)) } else { Escape::Character(element) }
                }
                None => Escape::Character(u32::from('[')),
            },
            '-' if !is_first && self.peek() != Some(']') => return Err(wrong(BAD_RANGE)),
            c => Escape::Character(u32::from(c)),
        })
    }

    /// What stands between `[:` and `:]`, or the like with a point or `=`.
    fn delimited(&mut self) -> Result<Option<(char, &str)>> {
        let Some(kind @ ('.' | '=' | ':')) = self.peek() else { return Ok(None) };
        let text = self.rest.as_str();
        let inner = text.get(1..).unwrap_or_default();
        // One character stands for itself, even what begins the end.
        let from = inner.chars().next().map_or(0, char::len_utf8);
        let end = inner.get(from..).and_then(|rest| rest.find([kind, '.', '=', ':'])).map(|end| from + end);
        let name = end.and_then(|end| inner.get(..end)).ok_or_else(|| wrong(BRACKETS))?;
        let behind = end.and_then(|end| inner.get(end..)).unwrap_or_default();
        let mut behind = behind.chars();
        if behind.next() != Some(kind) || behind.next() != Some(']') {
            return Err(wrong(BRACKETS));
        }
        self.rest = behind;
        Ok(Some((kind, name)))
    }

    /// The last character of a range, if one is ahead.
    fn end_of_range(&mut self) -> Result<Option<u32>> {
        if self.peek() != Some('-') || self.rest.as_str().starts_with("-]") {
            return Ok(None);
        }
        self.rest.next();
        if self.peek() == Some('-') {
            self.rest.next();
            return Ok(Some(u32::from('-')));
        }
        match self.member(true)? {
            Escape::Character(last) => Ok(Some(last)),
            Escape::Class(_) => Err(wrong(BAD_RANGE)),
            Escape::Constraint(_) | Escape::Reference(_) => Err(wrong(BAD_ESCAPE)),
        }
    }
}

fn named_class(name: &str) -> Result<Set> {
    character_class(name).map(Set::of).ok_or_else(|| wrong("invalid character class"))
}

/// A character by itself within `[. .]` or `[= =]`.
fn collating_element(name: &str) -> Result<u32> {
    let mut characters = name.chars();
    match (characters.next(), characters.next()) {
        (Some(c), None) => Ok(u32::from(c)),
        _ => Err(absent("named collating elements")),
    }
}

#[cfg(test)]
mod tests {
    use crate::pattern::{Options, Regex, regex_matches};

    /// Each was said to PostgreSQL 15 with collation C: `SELECT text ~ pattern, text ~* pattern`.
    #[test]
    fn letters_digits_and_blanks_are_those_of_ascii() {
        for (text, pattern, plain, folded) in [
            ("\u{e4}", r"\w", false, false),
            ("\u{e4}", r"\W", true, true),
            ("\u{e4}", r"[^\w]", true, true),
            ("\u{e4}", r"^.$", true, true),
            ("\u{e4}", r"\y", false, false),
            ("a\u{e4}", r"a\M", true, true),
            ("\u{c4}", "\u{e4}", false, false),
            ("\u{c4}", "[\u{e0}-\u{fc}]", false, false),
            ("\u{212a}", "k", false, false),
            ("K", "k", false, true),
            ("K", "[j-l]", false, true),
            ("K", "[^j-l]", true, false),
            ("k", "[[:upper:]]", false, true),
            ("\u{17f}", "s", false, false),
            ("\u{663}", r"\d", false, false),
            ("\u{663}", r"[\D]", true, true),
            ("\u{a0}", r"\s", false, false),
            ("\u{a0}", r"[\S]", true, true),
            ("\u{a0}", "[[:space:]]", false, false),
            ("x", r"[\W\w]", true, true),
            ("<", r"\<", true, true),
            ("\u{8}", r"\b", true, true),
            ("\\", r"\B", true, true),
            ("{,2}", "{,2}", true, true),
            ("]", "[^a]]", false, false),
            ("a\nb", "(?n)^B$", false, true),
            ("a\nb", "(?in)^B$", true, true),
            ("a\nb", "(?p)a.b", false, false),
            ("ab", "(?x) a # c\n b", true, true),
            ("a.b", "(?q)a.b", true, true),
            ("axb", "***=a.b", false, false),
            ("A", r"\u0041\x42?\103?", true, true),
            ("\u{1}9", r"\19", true, true),
        ] {
            for (fold, expected) in [(false, plain), (true, folded)] {
                let found = regex_matches(text, pattern, fold).unwrap();
                assert_eq!(found, expected, "{text} by {pattern}, fold {fold}");
            }
        }
        // A range that spans both cases takes in either, and what stands between them.
        let span = |text| regex_matches(text, "[X-b]", true).unwrap();
        assert_eq!(["x", "B", "_", "c", "W"].map(span), [true, true, true, false, false]);
    }

    #[test]
    fn what_is_wrong_or_absent_is_named() {
        for (pattern, part) in [
            ("(", "parentheses () not balanced"),
            ("a)", "parentheses () not balanced"),
            ("[a", "brackets [] not balanced"),
            ("[]", "brackets [] not balanced"),
            ("a{1", "braces {} not balanced"),
            ("a{1x}", "invalid repetition count(s)"),
            ("a{2,1}", "invalid repetition count(s)"),
            ("a{256}", "invalid repetition count(s)"),
            ("*a", "quantifier operand invalid"),
            ("a**", "quantifier operand invalid"),
            ("^*", "quantifier operand invalid"),
            ("a(?i)b", "quantifier operand invalid"),
            ("a(?P<n>a)", "quantifier operand invalid"),
            ("(?P<n>a)", "invalid embedded option"),
            ("***x", "quantifier operand invalid"),
            ("(?z)a", "invalid embedded option"),
            ("[b-a]", "invalid character range"),
            (r"[\w-a]", "invalid character range"),
            ("[a-c-e]", "invalid character range"),
            ("[[:nosuch:]]", "invalid character class"),
            (r"\p{L}", "invalid escape \\ sequence"),
            (r"\z", "invalid escape \\ sequence"),
            (r"[\y]", "invalid escape \\ sequence"),
            (r"[\1]", "invalid escape \\ sequence"),
            ("a\\", "invalid escape \\ sequence"),
            (r"\1", "invalid backreference number"),
            (r"(a)\1", "back references are not supported"),
            ("a(?=b)", "look-around are not supported"),
            ("(?b)a", "the option \"b\" are not supported"),
        ] {
            let error = Regex::new(pattern, Options::default()).unwrap_err();
            assert!(error.message().contains(part), "{pattern}: {error}");
        }
    }
}
