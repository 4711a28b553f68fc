//! Sets of characters, and the classes that have names.

use std::fmt::Write as _;

const LAST_CHARACTER: u32 = char::MAX as u32;

/// The characters of a class such as `[:alpha:]` under collation C.
pub(super) fn character_class(name: &str) -> Option<&'static [(char, char)]> {
    const UPPER: (char, char) = ('A', 'Z');
    const LOWER: (char, char) = ('a', 'z');
    const DIGIT: (char, char) = ('0', '9');
    Some(match name {
        "alnum" => &[DIGIT, UPPER, LOWER],
        "alpha" => &[UPPER, LOWER],
        "ascii" => &[('\0', '\u{7f}')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')],
        "digit" => &[DIGIT],
        "graph" => &[('!', '~')],
        "lower" => &[LOWER],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[UPPER],
        "word" => &[DIGIT, UPPER, ('_', '_'), LOWER],
        "xdigit" => &[DIGIT, ('A', 'F'), ('a', 'f')],
        _ => return None,
    })
}

/// Characters by their numbers, of which some may be beyond Unicode. No order, and they may overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(pub(super) Vec<(u32, u32)>);

impl Set {
    /// From ranges with both ends.
    pub(super) fn of(ranges: &[(char, char)]) -> Self {
        Self(ranges.iter().map(|(first, last)| (u32::from(*first), u32::from(*last))).collect())
    }
    /// One character.
    pub(super) fn just(c: u32) -> Self {
        Self(vec![(c, c)])
    }
    /// All other characters.
    pub(super) fn others(mut self) -> Self {
        self.0.sort_unstable();
        let (mut from, mut found) = (0_u32, Vec::new());
        for (first, last) in self.0 {
            if first > from {
                found.push((from, first - 1));
            }
            from = from.max(last.saturating_add(1));
        }
        if from <= LAST_CHARACTER {
            found.push((from, LAST_CHARACTER));
        }
        Self(found)
    }
    /// With the other case of each letter.
    pub(super) fn fold(&mut self) {
        const CASES: u32 = 'a' as u32 - 'A' as u32;
        for at in 0..self.0.len() {
            let Some((first, last)) = self.0.get(at).copied() else { break };
            for (a, z, upper) in [('a', 'z', false), ('A', 'Z', true)] {
                let (first, last) = (first.max(u32::from(a)), last.min(u32::from(z)));
                let other = |letter: u32| if upper { letter + CASES } else { letter - CASES };
                if first <= last {
                    self.0.push((other(first), other(last)));
                }
            }
        }
    }
    pub(super) fn has(&self, c: char) -> bool {
        let c = u32::from(c);
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&c))
    }
    /// Appends it in the `regex` crate's syntax.
    pub(super) fn write(&self, out: &mut String) {
        if let [(first, last)] = self.0.as_slice()
            && first == last
            && let Some(c) = char::from_u32(*first)
        {
            if r"\.+*?()|[]{}^$#&-~".contains(c) {
                out.push('\\');
            }
            out.push(c);
            return;
        }
        // Surrogates and what is beyond Unicode are no characters.
        let real = |number: u32| char::from_u32(number).is_some();
        let ends = self.0.iter().map(|(first, last)| {
            let first = if (0xd800..0xe000).contains(first) { 0xe000 } else { *first };
            let last = if (0xd800..0xe000).contains(last) { 0xd7ff } else { (*last).min(LAST_CHARACTER) };
            (first, last)
        });
        let mut ends = ends.filter(|(first, last)| first <= last && real(*first)).peekable();
        if ends.peek().is_none() {
            out.push_str(r"[^\x{0}-\x{10ffff}]");
            return;
        }
        out.push('[');
        for (first, last) in ends {
            let _ = write!(out, "\\x{{{first:x}}}");
            if last > first {
                let _ = write!(out, "-\\x{{{last:x}}}");
            }
        }
        out.push(']');
    }
}
