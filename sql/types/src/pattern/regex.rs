//! Regular expressions: PostgreSQL's as far as the `regex` crate has them, without back references and
//! look-around. Matching takes time linear in the text.

use super::next_character;
use super::syntax::{TOO_COMPLEX, translate};
use crate::error::{Error, Result};
use crate::work::{self, Growth};
use sqlstate::SqlState;
use std::cell::RefCell;

/// Matches between two looks at whether to stop.
const MATCHES: usize = 1 << 10;

/// Longer expressions are too complex: before its size is known, one takes a thousand times its text.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Looking at a byte takes as long as touching one, and one more for so many signs and repetitions of the
/// expression.
const SIGNS_A_BYTE: usize = 16;

/// To find the groups of a match takes so many times as long.
const GROUPS_WORK: usize = 16;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Regex {
    compiled: regex::Regex,
    /// What looking at a byte costs, in bytes touched.
    byte_work: usize,
}

impl Regex {
    /// Compiles PostgreSQL's syntax.
    ///
    /// # Errors
    ///
    /// 2201B if the pattern is not well formed, 0A000 for what is absent, 54000 if it is too complex.
    pub fn new(pattern: &str, fold: bool) -> Result<Self> {
        let too_complex = || Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, TOO_COMPLEX);
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(too_complex());
        }
        let translated = translate(pattern, fold)?;
        // What is wrong with an expression its translation finds; what is left is its size.
        let built =
            regex::RegexBuilder::new(&translated).dot_matches_new_line(true).size_limit(4 << 20).build();
        let byte_work = 1 + translated.len().saturating_add(repetitions(&translated)) / SIGNS_A_BYTE;
        built.map(|compiled| Self { compiled, byte_work }).map_err(|_| too_complex())
    }
    /// Does what looks at a text of so many bytes where it holds nobody up.
    #[inline]
    fn search<T>(&self, bytes: usize, look: impl FnOnce() -> T) -> T {
        work::aside(bytes.saturating_mul(self.byte_work), look)
    }
    /// Whether the expression matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.search(text.len(), || self.compiled.is_match(text))
    }
    /// The first match: its first group if it has one, else all of it.
    pub fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        let captures =
            self.search(text.len().saturating_mul(GROUPS_WORK), || self.compiled.captures(text))?;
        captures.get(usize::from(captures.len() > 1)).map(|found| found.as_str())
    }
    /// All groups of the first match (the whole match if there are none); None for a group that took no part.
    pub fn groups<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        let captures =
            self.search(text.len().saturating_mul(GROUPS_WORK), || self.compiled.captures(text))?;
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
        self.search(text.len().saturating_mul(GROUPS_WORK), || {
            let (mut at, mut seen) = (from, 0_usize);
            while at <= text.len() {
                let Some(captures) = self.compiled.captures_at(text, at) else { break };
                let Some(whole) = captures.get(0) else { break };
                seen += 1;
                if seen.is_multiple_of(MATCHES) {
                    work::check()?;
                }
                if !visit(&captures, whole)? {
                    break;
                }
                let end = whole.end();
                at = if whole.is_empty() { next_character(text.as_bytes(), end) } else { end };
            }
            Ok(())
        })
    }
    /// Replaces the first match, or all; in the replacement `\1` to `\9` are groups, `\&` the match.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop, 54000 if the text would be too long.
    pub fn replace(&self, text: &str, replacement: &str, all: bool) -> Result<String> {
        let (mut out, mut copied) = (Grown::default(), 0);
        self.each(text, 0, &mut |captures, whole| {
            out.push(text.get(copied..whole.start()).unwrap_or_default())?;
            copied = whole.end();
            substitute(captures, replacement, &mut out)?;
            Ok(all)
        })?;
        out.push(text.get(copied..).unwrap_or_default())?;
        Ok(out.text)
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

/// What the counts behind all braces of an expression come to.
fn repetitions(translated: &str) -> usize {
    let counts = translated.split('{').skip(1).filter_map(|behind| behind.split(['}', ',']).next_back());
    counts.filter_map(|count| count.parse::<usize>().ok()).fold(0, usize::saturating_add)
}

/// A text that is made of pieces.
#[derive(Default)]
struct Grown {
    text: String,
    growth: Growth,
}

impl Grown {
    fn push(&mut self, piece: &str) -> Result<()> {
        self.growth.to(self.text.len() + piece.len())?;
        self.text.push_str(piece);
        Ok(())
    }
}

/// Appends the replacement of one match.
fn substitute(captures: &regex::Captures<'_>, replacement: &str, out: &mut Grown) -> Result<()> {
    let group = |at: usize| captures.get(at).map_or("", |group| group.as_str());
    let mut rest = replacement;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push(before)?;
        let mut characters = behind.chars();
        match characters.next() {
            Some(digit @ '1'..='9') => out.push(group(digit as usize - '0' as usize))?,
            Some('&') => out.push(group(0))?,
            Some('\\') | None => out.push("\\")?,
            Some(other) => {
                out.push("\\")?;
                out.push(other.encode_utf8(&mut [0; 4]))?;
            }
        }
        rest = characters.as_str();
    }
    out.push(rest)
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
/// 2201B if the pattern is not well formed, 0A000 for what is absent, 54000 if it is too complex.
pub fn regex_matches(text: &str, pattern: &str, fold: bool) -> Result<bool> {
    cached(pattern, fold).map(|regex| regex.is_match(text))
}

/// A compiled expression, kept for the next call.
///
/// # Errors
///
/// 2201B if the pattern is not well formed, 0A000 for what is absent, 54000 if it is too complex.
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
