//! LIKE and regular expressions.
//!
//! With collation C, upper and lower case are those of ASCII. Regular expressions are PostgreSQL's as far as
//! the `regex` crate has them: no back references and no look-around, and matching takes time linear in the
//! text.

use crate::error::{Error, Result};
use crate::work::{self, Growth};
use sqlstate::SqlState;
use std::cell::RefCell;

/// Matches between two looks at whether to stop.
const MATCHES: usize = 1 << 10;

fn trailing_escape() -> Error {
    Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "LIKE pattern must not end with escape character")
}

/// `text LIKE pattern` with the escape character `\`; `fold` for ILIKE.
///
/// # Errors
///
/// 2201B or 22025 if the pattern is not well formed, and those of work that is to stop.
pub fn like(text: &str, pattern: &str, fold: bool) -> Result<bool> {
    like_bytes(text.as_bytes(), pattern.as_bytes(), Some(b'\\'), fold, next_character)
}

/// `bytes LIKE pattern`, where `_` stands for one byte.
///
/// # Errors
///
/// 22025 if the pattern is not well formed, and those of work that is to stop.
pub fn like_bytea(bytes: &[u8], pattern: &[u8]) -> Result<bool> {
    like_bytes(bytes, pattern, Some(b'\\'), false, |_, at| at + 1)
}

/// `text LIKE pattern ESCAPE escape`; the empty escape string turns escaping off.
///
/// # Errors
///
/// 2201B or 22025 if the pattern is not well formed, and those of work that is to stop.
pub fn like_escape(text: &str, pattern: &str, escape: &str, fold: bool) -> Result<bool> {
    let mut characters = escape.chars();
    match (characters.next(), characters.next()) {
        (None, _) => like_bytes(text.as_bytes(), pattern.as_bytes(), None, fold, next_character),
        (Some('\\'), None) => like(text, pattern, fold),
        (Some(escape), None) => like(text, &with_backslash(pattern, escape), fold),
        _ => Err(Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .with_hint("Escape string must be empty or one character.")),
    }
}

/// The pattern with `\` as its escape character.
pub fn with_backslash(pattern: &str, escape: char) -> String {
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut escaped = false;
    for c in pattern.chars() {
        if c == escape && !escaped {
            out.push('\\');
            escaped = true;
        } else {
            if c == '\\' && !escaped {
                out.push('\\');
            }
            out.push(c);
            escaped = false;
        }
    }
    out
}

/// Where what follows the character at a place begins.
type Next = fn(&[u8], usize) -> usize;

/// Goes back only to the last `%`, which is enough because what stood before it matched as early as it could.
fn like_bytes(text: &[u8], pattern: &[u8], escape: Option<u8>, fold: bool, next: Next) -> Result<bool> {
    let same = |a: u8, b: u8| if fold { a.eq_ignore_ascii_case(&b) } else { a == b };
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    let mut steps = 0_usize;
    loop {
        steps += 1;
        if steps.is_multiple_of(work::STEPS) {
            work::check()?;
        }
        let matched = match (text.get(t), pattern.get(p)) {
            (None, None) => return Ok(true),
            (_, Some(b'%')) => {
                p += 1;
                retry = Some((t, p));
                continue;
            }
            (None, Some(_)) => return Ok(false),
            (Some(_), Some(b'_')) => {
                t = next(text, t);
                p += 1;
                true
            }
            (Some(byte), Some(wanted)) if Some(*wanted) == escape => {
                let literal = pattern.get(p + 1).ok_or_else(trailing_escape)?;
                let matched = same(*byte, *literal);
                t += 1;
                p += 2;
                matched
            }
            (Some(byte), Some(wanted)) => {
                let matched = same(*byte, *wanted);
                t += 1;
                p += 1;
                matched
            }
            (Some(_), None) => false,
        };
        if !matched {
            let Some((from, after_percent)) = retry else { return Ok(false) };
            let from = next(text, from);
            if from > text.len() {
                return Ok(false);
            }
            retry = Some((from, after_percent));
            (t, p) = (from, after_percent);
        }
    }
}

/// The start of the character after the one at `at`.
fn next_character(text: &[u8], at: usize) -> usize {
    let mut next = at + 1;
    while text.get(next).is_some_and(|byte| byte & 0xC0 == 0x80) {
        next += 1;
    }
    next
}

/// The characters that any match of a LIKE pattern starts with: a range for an index.
pub fn like_prefix(pattern: &str) -> String {
    let mut out = String::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '%' | '_' => break,
            '\\' => out.extend(characters.next()),
            c => out.push(c),
        }
    }
    out
}

/// PostgreSQL's message for an expression that would take too much memory.
const TOO_COMPLEX: &str = "regular expression is too complex";

/// Longer expressions are too complex: before its size is known, one takes a thousand times its text.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Escapes in an expression: a class such as `\w` has hundreds of ranges.
const CLASSES_MAX: usize = 5000;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Regex(regex::Regex);

impl Regex {
    /// Compiles PostgreSQL's syntax.
    ///
    /// # Errors
    ///
    /// 2201B or 22025 if the pattern is not well formed, and those of work that is to stop.
    pub fn new(pattern: &str, fold: bool) -> Result<Self> {
        let classes = pattern.bytes().filter(|byte| *byte == b'\\').count();
        if pattern.len() > PATTERN_BYTES_MAX || classes > CLASSES_MAX {
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, TOO_COMPLEX));
        }
        let translated = translate(pattern)?;
        regex::RegexBuilder::new(&translated)
            .case_insensitive(fold)
            .dot_matches_new_line(true)
            .size_limit(4 << 20)
            .build()
            .map(Self)
            .map_err(|error| {
                let (state, what) = match error {
                    regex::Error::CompiledTooBig(_) => {
                        (SqlState::PROGRAM_LIMIT_EXCEEDED, TOO_COMPLEX.to_owned())
                    }
                    _ => (
                        SqlState::INVALID_REGULAR_EXPRESSION,
                        format!("invalid regular expression: {}", reason(pattern, &error)),
                    ),
                };
                Error::new(state, what)
            })
    }
    /// Whether the expression matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
    /// The first match: its first group if it has one, else all of it.
    pub fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        let captures = self.0.captures(text)?;
        captures.get(usize::from(captures.len() > 1)).map(|found| found.as_str())
    }
    /// All groups of the first match (the whole match if there are none); None for a group that took no part.
    pub fn groups<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        let captures = self.0.captures(text)?;
        let first = usize::from(captures.len() > 1);
        Some(captures.iter().skip(first).map(|group| group.map(|group| group.as_str())).collect())
    }
    /// Visits the matches from a byte on, as PostgreSQL looks for them: behind an empty one it goes on a
    /// character further, behind any other right there. False from `visit` ends it.
    fn each<'a>(
        &self,
        text: &'a str,
        from: usize,
        visit: &mut dyn FnMut(&regex::Captures<'a>, regex::Match<'a>) -> Result<bool>,
    ) -> Result<()> {
        let (mut at, mut seen) = (from, 0_usize);
        while at <= text.len() {
            let Some(captures) = self.0.captures_at(text, at) else { break };
            let Some(whole) = captures.get(0) else { break };
            seen += 1;
            if seen.is_multiple_of(MATCHES) {
                work::check()?;
            }
            if !visit(&captures, whole)? {
                break;
            }
            at = if whole.is_empty() { next_character(text.as_bytes(), whole.end()) } else { whole.end() };
        }
        Ok(())
    }
    /// Replaces the first match, or all; in the replacement `\1` to `\9` are groups, `\&` the match.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop, 54000 if the text would be too long.
    pub fn replace(&self, text: &str, replacement: &str, all: bool) -> Result<String> {
        let (mut out, mut copied, mut growth) = (String::new(), 0, Growth::default());
        self.each(text, 0, &mut |captures, whole| {
            out.push_str(text.get(copied..whole.start()).unwrap_or_default());
            copied = whole.end();
            substitute(captures, replacement, &mut out);
            growth.to(out.len())?;
            Ok(all)
        })?;
        out.push_str(text.get(copied..).unwrap_or_default());
        Ok(out)
    }
    /// How many matches there are from a byte on.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop.
    pub fn count(&self, text: &str, from: usize) -> Result<usize> {
        let mut count = 0_usize;
        self.each(text, from, &mut |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }
    /// The groups of each match (the whole match if there are none), or of the first; None for a group that
    /// took no part.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop, 54000 if there would be too many.
    pub fn all_groups<'a>(&self, text: &'a str, all: bool) -> Result<Vec<Vec<Option<&'a str>>>> {
        let (mut found, mut bytes, mut growth) = (Vec::new(), 0_usize, Growth::default());
        self.each(text, 0, &mut |captures, _| {
            let first = usize::from(captures.len() > 1);
            let groups: Vec<_> =
                captures.iter().skip(first).map(|group| group.map(|group| group.as_str())).collect();
            bytes += size_of::<Vec<Option<&str>>>() + groups.len() * size_of::<Option<&str>>();
            growth.to(bytes)?;
            found.push(groups);
            Ok(all)
        })?;
        Ok(found)
    }
    /// The bytes of a match from a byte on, or of a group of it: of the `number`th, counted from 1.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop.
    pub fn range(
        &self,
        text: &str,
        from: usize,
        number: usize,
        group: usize,
    ) -> Result<Option<(usize, usize)>> {
        let (mut seen, mut found) = (0_usize, None);
        self.each(text, from, &mut |captures, _| {
            seen += 1;
            if seen == number {
                found = captures.get(group).map(|part| (part.start(), part.end()));
            }
            Ok(seen < number)
        })?;
        Ok(found)
    }
    /// The parts of the text between matches. An empty match at an end of the text or right behind another
    /// match parts nothing.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop, 54000 if there would be too many.
    pub fn split<'a>(&self, text: &'a str) -> Result<Vec<&'a str>> {
        let (mut parts, mut from, mut growth) = (Vec::new(), 0, Growth::default());
        self.each(text, 0, &mut |_, whole| {
            if whole.start() < text.len() && whole.end() > from {
                parts.push(text.get(from..whole.start()).unwrap_or_default());
                growth.to(parts.len() * size_of::<&str>())?;
                from = whole.end();
            }
            Ok(true)
        })?;
        parts.push(text.get(from..).unwrap_or_default());
        Ok(parts)
    }
}

/// Appends the replacement of one match.
fn substitute(captures: &regex::Captures<'_>, replacement: &str, out: &mut String) {
    let group = |at: usize| captures.get(at).map_or("", |group| group.as_str());
    let mut rest = replacement;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let mut characters = behind.chars();
        match characters.next() {
            Some(digit @ '1'..='9') => out.push_str(group(digit as usize - '0' as usize)),
            Some('&') => out.push_str(group(0)),
            Some('\\') | None => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}

/// The part of a mistake that users meet most, in PostgreSQL's words.
fn reason(pattern: &str, error: &regex::Error) -> &'static str {
    let printed = error.to_string();
    if printed.contains("unclosed character class") {
        "brackets [] not balanced"
    } else if printed.contains("unclosed group") || printed.contains("unopened group") {
        "parentheses () not balanced"
    } else if printed.contains("repetition operator missing expression") {
        "quantifier operand invalid"
    } else if printed.contains("repetition") || printed.contains("invalid repetition count") {
        "invalid repetition count(s)"
    } else if printed.contains("range") {
        "invalid character range"
    } else if pattern.ends_with('\\') || printed.contains("escape") {
        "invalid escape \\ sequence"
    } else {
        "the expression is not understood"
    }
}

fn absent(what: &str) -> Error {
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("regular expressions with {what} are not supported"))
}

/// Turns a backslash with what follows it.
fn translate_escape(escaped: Option<char>, out: &mut String) -> Result<()> {
    match escaped {
        Some('m') => out.push_str(r"\b{start}"),
        Some('M') => out.push_str(r"\b{end}"),
        Some('y') => out.push_str(r"\b"),
        Some('Y') => out.push_str(r"\B"),
        Some('A') => out.push_str(r"\A"),
        Some('Z') => out.push_str(r"\z"),
        Some('1'..='9') => return Err(absent("back references")),
        Some(other) => {
            out.push('\\');
            out.push(other);
        }
        None => {
            return Err(Error::new(
                SqlState::INVALID_REGULAR_EXPRESSION,
                "invalid regular expression: invalid escape \\ sequence",
            ));
        }
    }
    Ok(())
}

/// Turns what differs between the two syntaxes.
fn translate(pattern: &str) -> Result<String> {
    let mut rest = pattern;
    let mut out = String::with_capacity(pattern.len());
    if let Some(literal) = rest.strip_prefix("***=") {
        return Ok(regex::escape(literal));
    }
    rest = rest.strip_prefix("***:").unwrap_or(rest);
    let mut characters = rest.chars().peekable();
    let mut in_brackets = false;
    while let Some(c) = characters.next() {
        match c {
            '\\' if !in_brackets => translate_escape(characters.next(), &mut out)?,
            '[' if !in_brackets => {
                in_brackets = true;
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket directly after the opening one stands for itself.
                if characters.next_if_eq(&']').is_some() {
                    out.push_str(r"\]");
                }
            }
            '[' => {
                // Inside brackets only [:class:] is special.
                if characters.peek() == Some(&':') {
                    out.push('[');
                    for inner in characters.by_ref() {
                        out.push(inner);
                        if inner == ']' {
                            break;
                        }
                    }
                } else {
                    out.push_str(r"\[");
                }
            }
            ']' if in_brackets => {
                in_brackets = false;
                out.push(']');
            }
            '&' | '~' if in_brackets => {
                out.push('\\');
                out.push(c);
            }
            '(' if !in_brackets && characters.peek() == Some(&'?') => {
                let ahead: String = characters.clone().take(3).collect();
                if ["?=", "?!", "?<=", "?<!"].iter().any(|look| ahead.starts_with(look)) {
                    return Err(absent("look-around"));
                }
                out.push('(');
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Compiled expressions kept for the next row, a thread each.
const CACHED: usize = 8;

host::thread::local! {
    static CACHE: RefCell<Vec<(String, bool, Regex)>> = const { RefCell::new(Vec::new()) };
}

/// `text ~ pattern`; `fold` for `~*`. The last patterns are kept compiled.
///
/// # Errors
///
/// 2201B or 22025 if the pattern is not well formed, and those of work that is to stop.
pub fn regex_matches(text: &str, pattern: &str, fold: bool) -> Result<bool> {
    cached(pattern, fold).map(|regex| regex.is_match(text))
}

/// A compiled expression, kept for the next call.
///
/// # Errors
///
/// 2201B or 22025 if the pattern is not well formed, and those of work that is to stop.
pub fn cached(pattern: &str, fold: bool) -> Result<Regex> {
    CACHE.with(|cache| {
        let mut cache = cache.borrow_mut();
        if let Some(at) = cache.iter().position(|(text, folds, _)| text == pattern && *folds == fold) {
            cache.swap(0, at);
        } else {
            let compiled = Regex::new(pattern, fold)?;
            cache.truncate(CACHED - 1);
            cache.insert(0, (pattern.to_owned(), fold, compiled));
        }
        cache.first().map(|(_, _, regex)| regex.clone()).ok_or_else(Error::type_mismatch)
    })
}
