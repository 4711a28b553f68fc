//! Regular expressions: PostgreSQL's without back references and look-around.
//!
//! Whether a text matches, and where a match begins, the `regex` crate finds, in time linear in the text.
//! Where it ends, and what its groups stand for, is PostgreSQL's to say ([`super::part`]), and a machine of
//! our own finds it ([`super::machine`]), in time linear in the match for each group.

use super::machine::{Machine, Span};
use super::next_character;
use super::node::Node;
use super::options::Options;
use super::syntax::{read, too_complex};
use crate::error::{Error, Result};
use crate::work::{self, Growth};
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

/// Matches between two looks at whether to stop.
const MATCHES: usize = 1 << 10;

/// Longer expressions are too complex: before its size is known, one takes a thousand times its text.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// The same of the characters of an expression, with its repetitions written out.
const SIZE_MAX: usize = 50_000;

/// Looking at a byte takes as long as touching one, and one more for so many signs and repetitions of the
/// expression.
const SIGNS_A_BYTE: usize = 16;

/// To find the groups of a match takes so many times as long.
const GROUPS_WORK: usize = 16;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Regex(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    finder: regex::Regex,
    node: Node,
    /// Made when a match is asked where it ends for the first time.
    machine: OnceLock<Machine>,
    groups: usize,
    /// Whether all matches that begin at one place end at one.
    is_of_one_width: bool,
    /// What looking at a byte costs, in bytes touched.
    byte_work: usize,
}

/// A match: all of it, and its groups if they were asked for; None for one that took no part.
type Match = Vec<Option<Span>>;
/// Looks at a match and all of it; whether to go on.
type Visit<'v> = dyn FnMut(&[Option<Span>], Span) -> Result<bool> + 'v;

/// The text of a part of a match.
fn part<'a>(text: &'a str, found: &[Option<Span>], number: usize) -> Option<&'a str> {
    let (from, to) = found.get(number).copied().flatten()?;
    text.get(from..to)
}

impl Regex {
    /// Compiles PostgreSQL's syntax.
    ///
    /// # Errors
    ///
    /// 2201B if the pattern is not well formed, 0A000 for what is absent, 54000 if it is too complex.
    pub fn new(pattern: &str, options: Options) -> Result<Self> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(too_complex());
        }
        let (node, groups) = read(pattern, options)?;
        let size = node.size();
        if size > SIZE_MAX {
            return Err(too_complex());
        }
        let mut written = String::with_capacity(pattern.len() * 2);
        node.write(&mut written);
        // What is wrong with an expression was found when it was read; what is left is its size.
        let finder = regex::RegexBuilder::new(&written).size_limit(4 << 20).build();
        let finder = finder.map_err(|_| too_complex())?;
        let byte_work = 1 + written.len().saturating_add(size) / SIGNS_A_BYTE;
        let is_of_one_width = node.width().is_some();
        let machine = OnceLock::new();
        Ok(Self(Arc::new(Compiled { finder, node, machine, groups, is_of_one_width, byte_work })))
    }
    /// Whether it has groups.
    pub fn has_groups(&self) -> bool {
        self.0.groups > 0
    }
    /// Does what looks at a text of so many bytes where it holds nobody up.
    #[inline]
    fn search<T>(&self, bytes: usize, look: impl FnOnce() -> T) -> T {
        work::aside(bytes.saturating_mul(self.0.byte_work), look)
    }
    /// Whether the expression matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.search(text.len(), || self.0.finder.is_match(text))
    }
    /// The first match from a byte on.
    fn next(&self, text: &str, from: usize, with_groups: bool) -> Result<Option<Match>> {
        let this = &*self.0;
        let Some(found) = this.finder.find_at(text, from) else { return Ok(None) };
        let (start, mut end) = (found.start(), found.end());
        let machine = || this.machine.get_or_init(|| Machine::new(&this.node));
        // What goes to the end of the text is the longest.
        if !this.is_of_one_width && (end < text.len() || machine().prefers_least()) {
            end = machine().end(text, start)?.unwrap_or(end);
        }
        Ok(Some(if with_groups && this.groups > 0 {
            machine().groups(text, (start, end), this.groups)?
        } else {
            vec![Some((start, end))]
        }))
    }
    fn first(&self, text: &str) -> Result<Option<Match>> {
        self.search(text.len().saturating_mul(GROUPS_WORK), || self.next(text, 0, true))
    }
    /// The first match: its first group if it has one, else all of it.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop.
    pub fn find<'a>(&self, text: &'a str) -> Result<Option<&'a str>> {
        let found = self.first(text)?;
        Ok(found.and_then(|found| part(text, &found, usize::from(self.has_groups()))))
    }
    /// All groups of the first match (the whole match if there are none); None for a group that took no part.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop.
    pub fn groups<'a>(&self, text: &'a str) -> Result<Option<Vec<Option<&'a str>>>> {
        Ok(self.first(text)?.map(|found| self.groups_of(text, &found)))
    }
    fn groups_of<'a>(&self, text: &'a str, found: &[Option<Span>]) -> Vec<Option<&'a str>> {
        let numbers = usize::from(self.has_groups())..=self.0.groups;
        numbers.map(|number| part(text, found, number)).collect()
    }
    /// Visits the matches from a byte on, as PostgreSQL looks for them: behind an empty one it goes on a
    /// character further, behind any other right there. False from `visit` ends it.
    fn each(&self, text: &str, from: usize, with_groups: bool, visit: &mut Visit<'_>) -> Result<()> {
        self.search(text.len().saturating_mul(GROUPS_WORK), || {
            let (mut at, mut seen) = (from, 0_usize);
            while at <= text.len() {
                let Some(found) = self.next(text, at, with_groups)? else { break };
                let Some(whole) = found.first().copied().flatten() else { break };
                seen += 1;
                if seen.is_multiple_of(MATCHES) {
                    work::check()?;
                }
                if !visit(&found, whole)? {
                    break;
                }
                let (start, end) = whole;
                at = if start == end { next_character(text.as_bytes(), end) } else { end };
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
        self.each(text, 0, names_groups(replacement), &mut |found, (start, end)| {
            out.push(text.get(copied..start).unwrap_or_default())?;
            copied = end;
            substitute(text, found, replacement, &mut out)?;
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
        self.each(text, from, false, &mut |_, _| {
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
        self.each(text, 0, true, &mut |parts, _| {
            let groups = self.groups_of(text, parts);
            bytes += size_of::<Vec<Option<&str>>>() + groups.len() * size_of::<Option<&str>>();
            growth.to(bytes)?;
            found.push(groups);
            Ok(all)
        })?;
        Ok(found)
    }
    /// The bytes of a match from a byte on, or of a group of it: of the `number`th, counted from 1. An
    /// expression without groups has one, as in PostgreSQL, which is the whole match.
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
        let group = if group == 1 && !self.has_groups() { 0 } else { group };
        let (mut seen, mut found) = (0_usize, None);
        self.each(text, from, group > 0, &mut |parts, _| {
            seen += 1;
            if seen == number {
                found = parts.get(group).copied().flatten();
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
        self.each(text, 0, false, &mut |_, (start, end)| {
            if start < text.len() && end > from {
                parts.push(text.get(from..start).unwrap_or_default());
                growth.to(parts.len() * size_of::<&str>())?;
                from = end;
            }
            Ok(true)
        })?;
        parts.push(text.get(from..).unwrap_or_default());
        Ok(parts)
    }
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

/// Whether a replacement stands for groups.
fn names_groups(replacement: &str) -> bool {
    let mut behind = replacement.split('\\').skip(1);
    behind.any(|behind| behind.starts_with(|c: char| c.is_ascii_digit()))
}

/// Appends the replacement of one match.
fn substitute(text: &str, found: &[Option<Span>], replacement: &str, out: &mut Grown) -> Result<()> {
    let group = |number| part(text, found, number).unwrap_or_default();
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
    static CACHE: RefCell<Vec<(String, Options, Regex)>> = const { RefCell::new(Vec::new()) };
}

/// `text ~ pattern`; `fold` for `~*`. The last patterns are kept compiled.
///
/// # Errors
///
/// 2201B if the pattern is not well formed, 0A000 for what is absent, 54000 if it is too complex.
pub fn regex_matches(text: &str, pattern: &str, fold: bool) -> Result<bool> {
    cached(pattern, Options::folding(fold)).map(|regex| regex.is_match(text))
}

/// A compiled expression, kept for the next call.
///
/// # Errors
///
/// 2201B if the pattern is not well formed, 0A000 for what is absent, 54000 if it is too complex.
pub fn cached(pattern: &str, options: Options) -> Result<Regex> {
    CACHE.with(|cache| {
        let mut cache = cache.borrow_mut();
        if let Some(at) = cache.iter().position(|(text, kept, _)| text == pattern && *kept == options) {
            cache.swap(0, at);
        } else {
            let compiled = Regex::new(pattern, options)?;
            cache.truncate(CACHED - 1);
            cache.insert(0, (pattern.to_owned(), options, compiled));
        }
        cache.first().map(|(_, _, regex)| regex.clone()).ok_or_else(Error::type_mismatch)
    })
}
