//! Regular expressions of pg_ident.conf: PostgreSQL's advanced ones (the manual's section "POSIX Regular
//! Expressions") in the C locale, which that file is read in.
//!
//! Who is let in hangs on what a group stands for, and there engines differ: here, as in PostgreSQL, the
//! whole takes the longest match, and of its parts those that stand earlier take as much as they can. What is
//! absent is refused when the file is read: back references, look-around, collating elements, and a group of
//! an expression with quantifiers that take the least.

mod read;

/// A set of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Set {
    ranges: Vec<(char, char)>,
    negated: bool,
}

impl Set {
    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != self.negated
    }
}

/// What has no width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Constraint {
    Start,
    End,
    WordStart,
    WordEnd,
    WordBound,
    NoWordBound,
}

/// A part of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    One(Set),
    At(Constraint),
    /// A group by its number.
    Group(usize, Box<Node>),
    /// One behind the other. Those without a group stand together, as they take their share together.
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat {
        of: Box<Node>,
        least: u32,
        most: Option<u32>,
    },
}

impl Node {
    fn has_group(&self) -> bool {
        match self {
            Self::One(_) | Self::At(_) => false,
            Self::Group(..) => true,
            Self::Sequence(parts) | Self::Choice(parts) => parts.iter().any(Self::has_group),
            Self::Repeat { of, .. } => of.has_group(),
        }
    }
}

/// An expression.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    tree: Node,
    fold: bool,
    takes_least: bool,
}

/// What the first group stands for in a text that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FirstGroup {
    Text(String),
    /// There is none, or it took no part.
    Nothing,
}

impl Expression {
    /// Reads an expression. Err says why it is none, in PostgreSQL's words, or what of it is absent.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        read::expression(text)
    }

    /// Whether it has quantifiers that take the least.
    pub(super) fn takes_least(&self) -> bool {
        self.takes_least
    }

    /// What its first group stands for; None if it fits nowhere in the text.
    pub(super) fn find(&self, text: &str) -> Option<FirstGroup> {
        let text = Text { characters: text.chars().collect(), fold: self.fold };
        let most = text.characters.len();
        for from in 0..=most {
            let ends = text.ends(&self.tree, &text.only(from));
            if let Some(end) = ends.iter().rposition(|is_end| *is_end) {
                let place = text.first_group(&self.tree, (from, end));
                let found = place.and_then(|(from, to)| text.characters.get(from..to));
                return Some(
                    found.map_or(FirstGroup::Nothing, |found| FirstGroup::Text(found.iter().collect())),
                );
            }
        }
        None
    }
}

/// For each place between two characters whether it belongs.
type Places = Vec<bool>;

/// The text that an expression is held against.
struct Text {
    characters: Vec<char>,
    fold: bool,
}

impl Text {
    fn only(&self, place: usize) -> Places {
        (0..=self.characters.len()).map(|at| at == place).collect()
    }

    fn is_word(&self, at: Option<usize>) -> bool {
        let found = at.and_then(|at| self.characters.get(at));
        found.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_')
    }

    fn holds(&self, constraint: Constraint, at: usize) -> bool {
        let (before, behind) = (self.is_word(at.checked_sub(1)), self.is_word(Some(at)));
        match constraint {
            Constraint::Start => at == 0,
            Constraint::End => at == self.characters.len(),
            Constraint::WordStart => !before && behind,
            Constraint::WordEnd => before && !behind,
            Constraint::WordBound => before != behind,
            Constraint::NoWordBound => before == behind,
        }
    }

    fn fits(&self, set: &Set, c: char) -> bool {
        if !self.fold {
            return set.has(c);
        }
        // Of either case, in the C locale.
        let plain = Set { ranges: set.ranges.clone(), negated: false };
        (plain.has(c.to_ascii_lowercase()) || plain.has(c.to_ascii_uppercase())) != set.negated
    }

    /// Where a part may end that begins at one of these places.
    fn ends(&self, node: &Node, from: &Places) -> Places {
        match node {
            Node::One(set) => {
                let fits = |at: usize| {
                    let before = at.checked_sub(1);
                    before.is_some_and(|at| {
                        from.get(at) == Some(&true)
                            && self.characters.get(at).is_some_and(|c| self.fits(set, *c))
                    })
                };
                (0..from.len()).map(fits).collect()
            }
            Node::At(constraint) => {
                let places = from.iter().enumerate();
                places.map(|(at, is_start)| *is_start && self.holds(*constraint, at)).collect()
            }
            Node::Group(_, inner) => self.ends(inner, from),
            Node::Sequence(parts) => parts.iter().fold(from.clone(), |places, part| self.ends(part, &places)),
            Node::Choice(branches) => {
                let none = vec![false; from.len()];
                branches.iter().fold(none, |places, branch| joined(&places, &self.ends(branch, from)))
            }
            Node::Repeat { of, least, most } => self.repeated(of, (*least, *most), from),
        }
    }

    fn repeated(&self, of: &Node, (least, most): (u32, Option<u32>), from: &Places) -> Places {
        let mut places = from.clone();
        for _ in 0..least {
            places = self.ends(of, &places);
        }
        let mut all = places.clone();
        let mut left = most.map(|most| most.saturating_sub(least));
        while left != Some(0) {
            left = left.map(|left| left - 1);
            let more = self.ends(of, &places);
            // Those from which another round was tried already lead nowhere else.
            places = more.iter().zip(&all).map(|(found, known)| *found && !*known).collect();
            if !places.contains(&true) {
                break;
            }
            all = joined(&all, &places);
        }
        all
    }

    fn spans(&self, node: &Node, (from, to): (usize, usize)) -> bool {
        self.ends(node, &self.only(from)).get(to) == Some(&true)
    }

    /// The last place up to `to` where a part from `from` may end so that this holds behind it.
    fn longest(
        &self,
        node: &Node,
        (from, to): (usize, usize),
        rest: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let ends = self.ends(node, &self.only(from));
        (from..=to).rev().find(|at| ends.get(*at) == Some(&true) && rest(*at))
    }

    /// Where the first group is within a part that spans this.
    fn first_group(&self, node: &Node, (from, to): (usize, usize)) -> Option<(usize, usize)> {
        match node {
            Node::One(_) | Node::At(_) => None,
            Node::Group(1, _) => Some((from, to)),
            Node::Group(_, inner) => self.first_group(inner, (from, to)),
            Node::Choice(branches) => {
                let taken = branches.iter().find(|branch| self.spans(branch, (from, to)))?;
                self.first_group(taken, (from, to))
            }
            Node::Sequence(parts) => {
                let mut from = from;
                for (at, part) in parts.iter().enumerate() {
                    let behind = Node::Sequence(parts.get(at + 1..).unwrap_or_default().to_vec());
                    let end = self.longest(part, (from, to), |end| self.spans(&behind, (end, to)))?;
                    if let Some(found) = self.first_group(part, (from, end)) {
                        return Some(found);
                    }
                    from = end;
                }
                None
            }
            Node::Repeat { of, least, most } => self.last_round(of, (*least, *most), (from, to)),
        }
    }

    /// A group stands for what it was in the last round.
    fn last_round(
        &self,
        of: &Node,
        (least, most): (u32, Option<u32>),
        (from, to): (usize, usize),
    ) -> Option<(usize, usize)> {
        let rounds = |least, most| Node::Repeat { of: Box::new(of.clone()), least, most };
        if least > 0 {
            // All rounds before the last take as much as they can together.
            let before = rounds(least - 1, most.map(|most| most - 1));
            let last = self.longest(&before, (from, to), |at| self.spans(of, (at, to)))?;
            return self.first_group(of, (last, to));
        }
        // Where there may be none, each round takes as much as it can.
        let (mut from, mut left) = (from, most);
        loop {
            left = left.map(|left| left.saturating_sub(1));
            let behind = rounds(0, left);
            let goes_on = |at: usize| at == to || at > from && self.spans(&behind, (at, to));
            let end = self.longest(of, (from, to), goes_on)?;
            if end == to {
                return self.first_group(of, (from, to));
            }
            from = end;
        }
    }
}

fn joined(some: &Places, others: &Places) -> Places {
    some.iter().zip(others).map(|(one, other)| *one || *other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> Option<String> {
        Expression::new(pattern).unwrap().find(text).map(|group| match group {
            FirstGroup::Text(text) => text,
            FirstGroup::Nothing => "-".to_owned(),
        })
    }

    /// Each was said to PostgreSQL 15: `SELECT (regexp_match(text COLLATE "C", pattern))[1]`.
    #[test]
    fn groups_stand_for_what_they_are_in_postgresql() {
        for (pattern, text, group) in [
            ("^(ro|root)", "root", Some("root")),
            ("(a|ab)(c|bcd)(d*)", "abcd", Some("ab")),
            ("(a?)(ab)?", "ab", Some("")),
            ("(a?(ab)?)(b?)$", "ab", Some("ab")),
            ("^(?:a?((?:ab)?))b?$", "ab", Some("ab")),
            ("^a?(?:ab)?(b?)$", "ab", Some("")),
            ("(.{1,2})+", "aaa", Some("a")),
            ("^(a?)*$", "", Some("")),
            ("(a|b)*", "abab", Some("b")),
            ("(a|ab)*(c|bc)?$", "abc", Some("ab")),
            ("x(y)?", "x", Some("-")),
            ("(ab|a){2,3}", "aabab", Some("ab")),
            ("^(.*)@example\\.com$", "ann@example.com", Some("ann")),
            ("(?i)^(SVC)-", "svc-7", Some("svc")),
            ("\\m(\\w+)\\M", "-ann.b", Some("ann")),
            ("([[:alpha:]]+)", "\u{e4}bc\u{e4}", Some("bc")),
            ("[]a-c-]+(x)", "]-bx", Some("x")),
            ("(a{)", "a{", Some("a{")),
            ("b", "abc", Some("-")),
            ("^b", "abc", None),
            ("\\Ya", "ba", Some("-")),
            ("***=a.c", "a.c", Some("-")),
            ("***=a.c", "abc", None),
        ] {
            assert_eq!(found(pattern, text).as_deref(), group, "{pattern} in {text}");
        }
    }

    #[test]
    fn what_is_wrong_or_absent_is_named() {
        for (pattern, part) in [
            ("(", "parentheses () not balanced"),
            ("a)", "parentheses () not balanced"),
            ("[a", "brackets [] not balanced"),
            ("*a", "quantifier operand invalid"),
            ("a**", "quantifier operand invalid"),
            ("^*", "quantifier operand invalid"),
            ("a(?i)b", "quantifier operand invalid"),
            ("a{2,1}", "invalid repetition count(s)"),
            ("a{256}", "invalid repetition count(s)"),
            ("[b-a]", "invalid character range"),
            ("[[:nosuch:]]", "invalid character class"),
            ("\\q", "invalid escape \\ sequence"),
            ("a\\", "invalid escape \\ sequence"),
            ("(a)\\1", "back references are not supported"),
            ("a(?=b)", "look-around constraints are not supported"),
            ("(?<!a)b", "look-around constraints are not supported"),
            ("[[.a.]]", "collating elements are not supported"),
            ("(?x)a b", "embedded option \"x\" is not supported"),
            ("(((((a*)*)*)*)*)*", "too complex"),
            ("((a{200}){200}){200}", "too complex"),
        ] {
            let error = Expression::new(pattern).unwrap_err();
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }
}
