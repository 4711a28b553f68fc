//! PostgreSQL's advanced regular expressions (the manual's section "POSIX Regular Expressions") in the syntax
//! of the `regex` crate.
//!
//! Nothing of an expression is handed on as it stands: each part is read and written anew, so that letters,
//! digits, blanks, words and the two cases are those of ASCII, as collation C has them.

use super::set::{Set, character_class};
use crate::error::{Error, Result};
use sqlstate::SqlState;
use std::fmt::Write as _;
use std::str::Chars;

/// PostgreSQL's message for an expression that would take too much memory.
pub(super) const TOO_COMPLEX: &str = "regular expression is too complex";

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

fn absent(what: &str) -> Error {
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("regular expressions with {what} are not supported"))
}

/// What an escape stands for.
enum Escape {
    Character(u32),
    Class(Set),
    /// Something without width, in the crate's syntax.
    Constraint(&'static str),
    /// What a group of this number stands for.
    Reference(u32),
}

/// The letters before an expression, `(?i)`.
#[derive(Clone, Copy)]
struct Options {
    fold: bool,
    /// Blanks and comments are skipped.
    expanded: bool,
    /// `.` and negated brackets do not take ends of lines.
    lines_stop: bool,
    /// `^` and `$` match at lines.
    lines_anchor: bool,
    literal: bool,
}

/// An expression in the crate's syntax; `fold` unless the expression says otherwise.
///
/// # Errors
///
/// 2201B if it is not well formed, 0A000 for what is absent.
pub(super) fn translate(pattern: &str, fold: bool) -> Result<String> {
    let mut options =
        Options { fold, expanded: false, lines_stop: false, lines_anchor: false, literal: false };
    let mut rest = pattern;
    if let Some(directed) = pattern.strip_prefix("***") {
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
        letters.chars().try_for_each(|letter| options.embedded(letter))?;
        rest = behind;
    }
    let mut translator = Translator {
        rest: rest.chars(),
        out: String::with_capacity(rest.len() * 2),
        options,
        groups: 0,
        open: 0,
        may_repeat: false,
    };
    if options.literal {
        rest.chars().for_each(|c| translator.character(u32::from(c)));
    } else {
        translator.expression()?;
    }
    Ok(translator.out)
}

impl Options {
    fn embedded(&mut self, letter: char) -> Result<()> {
        match letter {
            'i' => self.fold = true,
            'c' => self.fold = false,
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'm' | 'n' => (self.lines_stop, self.lines_anchor) = (true, true),
            'p' => (self.lines_stop, self.lines_anchor) = (true, false),
            'w' => (self.lines_stop, self.lines_anchor) = (false, true),
            's' => (self.lines_stop, self.lines_anchor) = (false, false),
            'b' | 'e' => return Err(absent(&format!("an embedded option \"{letter}\""))),
            _ => return Err(wrong(BAD_OPTION)),
        }
        Ok(())
    }
}

struct Translator<'a> {
    rest: Chars<'a>,
    out: String,
    options: Options,
    /// Groups that have begun.
    groups: u32,
    /// Parentheses that are open.
    open: u32,
    /// Whether a quantifier may follow.
    may_repeat: bool,
}

impl Translator<'_> {
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

    fn expression(&mut self) -> Result<()> {
        loop {
            self.skip_blanks();
            let Some(c) = self.rest.next() else { break };
            match c {
                '\\' => match self.escape()? {
                    Escape::Character(c) => self.character(c),
                    Escape::Class(set) => self.set(&set, false),
                    Escape::Constraint(constraint) => self.constraint(constraint),
                    Escape::Reference(group) if group <= self.groups => {
                        return Err(absent("back references"));
                    }
                    Escape::Reference(_) => return Err(wrong("invalid backreference number")),
                },
                '[' if self.take("[:<:]]") => self.constraint(r"(?-u:\b{start})"),
                '[' if self.take("[:>:]]") => self.constraint(r"(?-u:\b{end})"),
                '[' => self.bracket()?,
                '(' => self.parenthesis()?,
                ')' => {
                    self.open = self.open.checked_sub(1).ok_or_else(|| wrong(PARENTHESES))?;
                    self.out.push(')');
                    self.may_repeat = true;
                }
                '|' => self.constraint("|"),
                '^' => self.constraint(if self.options.lines_anchor { "(?m:^)" } else { "^" }),
                '$' => self.constraint(if self.options.lines_anchor { "(?m:$)" } else { "$" }),
                '.' => {
                    self.out.push_str(if self.options.lines_stop { r"[^\n]" } else { "." });
                    self.may_repeat = true;
                }
                '*' | '+' | '?' => self.quantifier(|out| {
                    out.push(c);
                    Ok(())
                })?,
                '{' => self.brace()?,
                c => self.character(u32::from(c)),
            }
        }
        if self.open > 0 { Err(wrong(PARENTHESES)) } else { Ok(()) }
    }

    /// Blanks and comments, where they are not part of the expression.
    fn skip_blanks(&mut self) {
        while self.options.expanded {
            let text = self.rest.as_str();
            let behind = text.trim_start_matches(|c: char| matches!(c, '\t'..='\r' | ' '));
            let behind = match behind.strip_prefix('#') {
                Some(comment) => comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or_default(),
                None => behind,
            };
            self.rest = behind.chars();
            if behind.len() == text.len() {
                break;
            }
        }
    }

    fn character(&mut self, c: u32) {
        self.may_repeat = true;
        match char::from_u32(c) {
            Some(c) if self.options.fold && c.is_ascii_alphabetic() => {
                self.out.extend(['[', c.to_ascii_uppercase(), c.to_ascii_lowercase(), ']']);
            }
            Some(c) => {
                if r"\.+*?()|[]{}^$#&-~".contains(c) {
                    self.out.push('\\');
                }
                self.out.push(c);
            }
            None => self.set(&Set(vec![(c, c)]), false),
        }
    }

    fn set(&mut self, set: &Set, negated: bool) {
        self.may_repeat = true;
        set.write(negated, &mut self.out);
    }

    /// What takes no quantifier.
    fn constraint(&mut self, written: &str) {
        self.may_repeat = false;
        self.out.push_str(written);
    }

    fn quantifier(&mut self, write: impl FnOnce(&mut String) -> Result<()>) -> Result<()> {
        if !std::mem::take(&mut self.may_repeat) {
            return Err(wrong(BAD_OPERAND));
        }
        write(&mut self.out)?;
        if self.take("?") {
            self.out.push('?');
        }
        Ok(())
    }

    /// `{`: of itself, or before counts.
    fn brace(&mut self) -> Result<()> {
        self.skip_blanks();
        if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.character(u32::from('{'));
            return Ok(());
        }
        if !self.may_repeat {
            return Err(wrong(BAD_OPERAND));
        }
        let least = self.count()?;
        let most = if !self.take(",") {
            Some(least)
        } else {
            self.skip_blanks();
            if self.peek().is_some_and(|c| c.is_ascii_digit()) { Some(self.count()?) } else { None }
        };
        if !self.take("}") {
            let reason = if self.peek().is_none() { "braces {} not balanced" } else { BAD_COUNT };
            return Err(wrong(reason));
        }
        if most.is_some_and(|most| most < least) {
            return Err(wrong(BAD_COUNT));
        }
        self.quantifier(|out| {
            let _ = match most {
                Some(most) => write!(out, "{{{least},{most}}}"),
                None => write!(out, "{{{least},}}"),
            };
            Ok(())
        })
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

    /// Behind an opening parenthesis.
    fn parenthesis(&mut self) -> Result<()> {
        if self.take("?#") {
            self.rest = self.rest.as_str().split_once(')').map_or("", |(_, behind)| behind).chars();
            return Ok(());
        }
        if ["?=", "?!", "?<=", "?<!"].iter().any(|look| self.rest.as_str().starts_with(look)) {
            return Err(absent("look-around"));
        }
        let written = if self.take("?:") {
            "(?:"
        } else if self.peek() == Some('?') {
            return Err(wrong(BAD_OPERAND));
        } else {
            self.groups += 1;
            "("
        };
        self.open += 1;
        self.constraint(written);
        Ok(())
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Result<Escape> {
        let letter = self.rest.next().ok_or_else(|| wrong(BAD_ESCAPE))?;
        let class = |name| Set::of(character_class(name).unwrap_or_default());
        Ok(match letter {
            'A' => Escape::Constraint(r"\A"),
            'Z' => Escape::Constraint(r"\z"),
            'm' => Escape::Constraint(r"(?-u:\b{start})"),
            'M' => Escape::Constraint(r"(?-u:\b{end})"),
            'y' => Escape::Constraint(r"(?-u:\b)"),
            'Y' => Escape::Constraint(r"(?-u:\B)"),
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
    fn decimal(&self, first: char) -> (u32, usize) {
        let ahead = self.rest.clone().take_while(char::is_ascii_digit).filter_map(|c| c.to_digit(10));
        let digits = first.to_digit(10).into_iter().chain(ahead);
        digits.fold((0, 0), |(number, count), digit| {
            (number.saturating_mul(10).saturating_add(digit), count + 1)
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
    fn bracket(&mut self) -> Result<()> {
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
        self.set(&set, negated);
        Ok(())
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
                    if kind == '=' {
                        Escape::Class(Set(vec![(element, element)]))
                    } else {
                        Escape::Character(element)
                    }
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
    use crate::pattern::{Regex, regex_matches};

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
            ("(?b)a", "an embedded option \"b\" are not supported"),
        ] {
            let error = Regex::new(pattern, false).unwrap_err();
            assert!(error.message().contains(part), "{pattern}: {error}");
        }
    }
}
