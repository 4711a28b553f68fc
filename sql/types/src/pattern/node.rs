//! What a regular expression is made of.

use super::set::Set;

/// What has no width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Constraint {
    Start,
    End,
    LineStart,
    LineEnd,
    WordStart,
    WordEnd,
    WordBound,
    NoWordBound,
}

impl Constraint {
    /// In the `regex` crate's syntax.
    pub(super) const fn written(self) -> &'static str {
        match self {
            Self::Start => r"\A",
            Self::End => r"\z",
            Self::LineStart => "(?m:^)",
            Self::LineEnd => "(?m:$)",
            Self::WordStart => r"(?-u:\b{start})",
            Self::WordEnd => r"(?-u:\b{end})",
            Self::WordBound => r"(?-u:\b)",
            Self::NoWordBound => r"(?-u:\B)",
        }
    }

    /// Whether it holds at a place of a text.
    pub(super) fn holds(self, text: &[u8], at: usize) -> bool {
        let byte = |at: Option<usize>| at.and_then(|at| text.get(at)).copied();
        let (before, behind) = (byte(at.checked_sub(1)), byte(Some(at)));
        let is_word =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match self {
            Self::Start => at == 0,
            Self::End => at == text.len(),
            Self::LineStart => before.is_none_or(|byte| byte == b'\n'),
            Self::LineEnd => behind.is_none_or(|byte| byte == b'\n'),
            Self::WordStart => !is_word(before) && is_word(behind),
            Self::WordEnd => is_word(before) && !is_word(behind),
            Self::WordBound => is_word(before) != is_word(behind),
            Self::NoWordBound => is_word(before) == is_word(behind),
        }
    }
}

/// How much a quantifier takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greed {
    Most,
    Least,
}

/// A part of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    One(Set),
    At(Constraint),
    /// A group by its number, from 1.
    Group(usize, Box<Node>),
    Sequence(Vec<Node>),
    /// Two or more branches.
    Choice(Vec<Node>),
    Repeat {
        of: Box<Node>,
        least: u32,
        most: Option<u32>,
        /// `{m}` has none.
        greed: Option<Greed>,
    },
}

impl Node {
    pub(super) const fn nothing() -> Self {
        Self::Sequence(Vec::new())
    }

    /// So many of a node, one behind the other.
    pub(super) fn repeat(of: Self, least: u32, most: Option<u32>) -> Self {
        Self::Repeat { of: Box::new(of), least, most, greed: None }
    }

    /// How many characters and constraints there are if repetitions are written out.
    pub(super) fn size(&self) -> usize {
        let sum = |parts: &[Self]| parts.iter().map(Self::size).fold(1, usize::saturating_add);
        match self {
            Self::One(_) | Self::At(_) => 1,
            Self::Group(_, inner) => inner.size(),
            Self::Sequence(parts) | Self::Choice(parts) => sum(parts),
            Self::Repeat { of, least, most, .. } => {
                let times = most.unwrap_or(least.saturating_add(1)).max(1);
                of.size().saturating_add(1).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
            }
        }
    }

    /// How many characters it takes; None if that differs.
    pub(super) fn width(&self) -> Option<usize> {
        match self {
            Self::One(_) => Some(1),
            Self::At(_) => Some(0),
            Self::Group(_, inner) => inner.width(),
            Self::Sequence(parts) => {
                parts.iter().try_fold(0, |sum: usize, part| sum.checked_add(part.width()?))
            }
            Self::Choice(branches) => {
                let width = branches.first()?.width()?;
                branches.iter().all(|branch| branch.width() == Some(width)).then_some(width)
            }
            Self::Repeat { of, least, most, .. } => {
                let times = Some(*least).filter(|least| Some(*least) == *most)?;
                of.width()?.checked_mul(usize::try_from(times).ok()?)
            }
        }
    }

    /// Appends it in the `regex` crate's syntax, without its groups.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::One(set) => set.write(out),
            Self::At(constraint) => out.push_str(constraint.written()),
            Self::Group(_, inner) => inner.write_within(out),
            Self::Sequence(parts) => parts.iter().for_each(|part| match part {
                Self::Choice(_) => part.write_within(out),
                _ => part.write(out),
            }),
            Self::Choice(branches) => {
                for (at, branch) in branches.iter().enumerate() {
                    if at > 0 {
                        out.push('|');
                    }
                    branch.write(out);
                }
            }
            Self::Repeat { of, least, most, .. } => {
                of.write_within(out);
                out.push_str(&match (least, most) {
                    (0, None) => "*".to_owned(),
                    (1, None) => "+".to_owned(),
                    (0, Some(1)) => "?".to_owned(),
                    (least, Some(most)) => format!("{{{least},{most}}}"),
                    (least, None) => format!("{{{least},}}"),
                });
            }
        }
    }

    fn write_within(&self, out: &mut String) {
        if matches!(self, Self::One(_)) {
            return self.write(out);
        }
        out.push_str("(?:");
        self.write(out);
        out.push(')');
    }
}
