//! What of an expression its groups and preferences make a difference for.
//!
//! In PostgreSQL the whole takes the longest match or the shortest, by the first preference in it that
//! counts, and within that its parts take theirs from left to right, as the manual's section "Regular
//! Expression Matching Rules" tells. Which parts that are, and what each prefers, follows from what stands
//! before it: a quantifier that prefers as those before it do is matched together with them.

use super::node::{Greed, Node};

/// What a part prefers, and what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taste {
    most: bool,
    least: bool,
    /// Something in it prefers otherwise than it does itself.
    mixed: bool,
    /// There is a group in it.
    pub(super) group: bool,
}

impl Taste {
    const MOST: Self = Self { most: true, least: false, mixed: false, group: false };

    const fn of(greed: Option<Greed>) -> Self {
        let (most, least) = (matches!(greed, Some(Greed::Most)), matches!(greed, Some(Greed::Least)));
        Self { most, least, mixed: false, group: false }
    }

    pub(super) const fn prefers_least(self) -> bool {
        self.least
    }

    const fn and(self, other: Self) -> Self {
        Self {
            most: self.most || other.most,
            least: self.least || other.least,
            mixed: self.mixed || other.mixed,
            group: self.group || other.group,
        }
    }

    /// What whoever has such a part in it takes over.
    const fn above(self) -> Self {
        Self { most: false, least: false, mixed: self.mixed || self.most && self.least, group: self.group }
    }

    /// Of two that stand one behind the other: the first preference counts.
    const fn then(self, other: Self) -> Self {
        let first = if self.most || self.least { self } else { other };
        let both = self.and(other).above();
        Self { most: first.most, least: first.least, ..both }
    }

    const fn has_preference(self) -> bool {
        self.most || self.least || self.mixed
    }

    /// Whether what is inside makes a difference.
    const fn matters(self) -> bool {
        self.mixed || self.group
    }
}

/// What a part is made of.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Matched as one: nothing in it makes a difference.
    Plain(Vec<Node>),
    /// One behind the other.
    Chain(Vec<Part>),
    Choice(Vec<Part>),
    /// Any number of times, or up to so many.
    Rounds(Box<Part>, Option<u32>),
}

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) shape: Shape,
    pub(super) taste: Taste,
    /// The groups that it is.
    pub(super) groups: Vec<usize>,
}

impl Part {
    fn plain(nodes: Vec<Node>, taste: Taste) -> Self {
        Self { shape: Shape::Plain(nodes), taste, groups: Vec::new() }
    }

    /// What a node comes to.
    pub(super) fn of(node: &Node) -> Self {
        match node {
            Node::Sequence(items) => Self::sequence(items),
            Node::Choice(branches) => {
                let parts: Vec<_> = branches.iter().map(Self::of).collect();
                let taste =
                    parts.iter().fold(Taste::MOST, |taste, part| taste.and(taste.and(part.taste).above()));
                if taste.matters() {
                    Self { shape: Shape::Choice(parts), taste, groups: Vec::new() }
                } else {
                    Self::plain(vec![node.clone()], taste)
                }
            }
            one => Self::sequence(std::slice::from_ref(one)),
        }
    }

    fn sequence(items: &[Node]) -> Self {
        // What stands before each part that matters by itself, with its taste, and that part.
        let mut links: Vec<(Self, Self, Taste)> = Vec::new();
        let (mut before, mut taste) = (Vec::new(), Taste::default());
        for item in items {
            if let Node::At(_) = item {
                before.push(item.clone());
                continue;
            }
            let (of, least, most, greed) = match item {
                Node::Repeat { of, least, most, greed } => (of.as_ref(), *least, *most, Taste::of(*greed)),
                item => (item, 1, Some(1), Taste::default()),
            };
            let atom = Self::atom(of);
            let together = taste.and(greed).and(atom.taste);
            if !matches!(of, Node::Group(..)) && !together.above().matters() {
                before.push(item.clone());
                taste = together;
                continue;
            }
            let both = greed.then(atom.taste);
            let part = atom.repeated(of, (least, most), greed);
            links.push((Self::plain(std::mem::take(&mut before), std::mem::take(&mut taste)), part, both));
        }
        let mut rest = (!before.is_empty()).then(|| Self::plain(before, taste));
        let mut chain: Vec<Self> = rest.iter().cloned().collect();
        for (before, part, both) in links.into_iter().rev() {
            let behind = match &rest {
                Some(rest) => both.and(both.then(rest.taste)),
                None => part.taste,
            };
            let is_first = matches!(&before.shape, Shape::Plain(nodes) if nodes.is_empty());
            let whole =
                if is_first && rest.is_none() { behind } else { before.taste.and(before.taste.then(behind)) };
            chain.push(part);
            if !is_first {
                chain.push(before);
            }
            rest = Some(Self::plain(Vec::new(), whole));
        }
        let taste = rest.map_or_else(Taste::default, |rest| rest.taste);
        chain.reverse();
        match <[Self; 1]>::try_from(chain) {
            Ok([only]) => only,
            Err(chain) if chain.is_empty() => Self::plain(Vec::new(), taste),
            Err(chain) => Self { shape: Shape::Chain(chain), taste, groups: Vec::new() },
        }
    }

    /// What a quantifier stands behind.
    fn atom(node: &Node) -> Self {
        match node {
            Node::Group(number, inner) => {
                let mut part = Self::of(inner);
                part.taste.group = true;
                part.groups.push(*number);
                part
            }
            Node::Sequence(_) | Node::Choice(_) => Self::of(node),
            one => Self::plain(vec![one.clone()], Taste::default()),
        }
    }

    /// This part, which is that of the node `of`, so many times.
    fn repeated(self, of: &Node, (least, most): (u32, Option<u32>), greed: Taste) -> Self {
        let own = Taste { group: false, ..self.taste };
        let once = (least, most) == (1, Some(1));
        if once && (!greed.has_preference() || !own.has_preference() || greed == own) {
            return self;
        }
        let taste = greed.then(self.taste);
        let repeat = |least, most| Node::repeat(of.clone(), least, most);
        if !self.taste.group {
            return Self::plain(vec![repeat(least, most)], taste);
        }
        if least == 0 {
            return Self { shape: Shape::Rounds(Box::new(self), most), taste, groups: Vec::new() };
        }
        // A group stands for what it was in the last round: those before are matched as one.
        let before = Taste { mixed: false, group: false, ..taste };
        let before = Self::plain(vec![repeat(least - 1, most.map(|most| most - 1))], before);
        Self { shape: Shape::Chain(vec![before, self]), taste, groups: Vec::new() }
    }
}
