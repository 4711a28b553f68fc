//! A machine that follows an expression through a text, forwards and backwards, and says where its parts may
//! begin and end.

use super::node::{Constraint, Node};
use super::part::{Part, Shape};
use super::set::Set;
use crate::error::Result;
use crate::work;
use std::ops::ControlFlow;

type State = usize;

/// What leads from one state to another.
#[derive(Clone, Debug)]
enum Kind {
    Nothing,
    One(Set),
    At(Constraint),
}

#[derive(Clone, Debug)]
struct Edge {
    kind: Kind,
    to: State,
}

/// A part of an expression in the machine.
#[derive(Clone, Debug)]
struct Stretch {
    begin: State,
    end: State,
    /// Whether it takes as little as it can.
    prefers_least: bool,
    /// Whether there are groups in it.
    has_groups: bool,
    groups: Vec<usize>,
    course: Course,
}

/// What a stretch goes through.
#[derive(Clone, Debug)]
enum Course {
    Plain,
    Chain(Vec<Stretch>),
    Choice(Vec<Stretch>),
    /// Rounds from `between` back to it; at most so many.
    Rounds {
        of: Box<Stretch>,
        between: State,
        most: Option<u32>,
    },
}

/// Bytes from one to another.
pub(super) type Span = (usize, usize);

/// The machine of an expression.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    out: Vec<Vec<Edge>>,
    into: Vec<Vec<Edge>>,
    whole: Option<Stretch>,
}

impl Machine {
    pub(super) fn new(node: &Node) -> Self {
        let mut machine = Self::default();
        let begin = machine.state();
        machine.whole = Some(machine.stretch(&Part::of(node), begin));
        machine
    }

    fn state(&mut self) -> State {
        self.out.push(Vec::new());
        self.into.push(Vec::new());
        self.out.len() - 1
    }

    fn lead(&mut self, from: State, kind: Kind, to: State) {
        if let (Some(out), Some(into)) = (self.out.get_mut(from), self.into.get_mut(to)) {
            into.push(Edge { kind: kind.clone(), to: from });
            out.push(Edge { kind, to });
        }
    }

    /// A new state that this leads to.
    fn then(&mut self, from: State, kind: Kind) -> State {
        let to = self.state();
        self.lead(from, kind, to);
        to
    }

    fn stretch(&mut self, part: &Part, begin: State) -> Stretch {
        let (end, course) = match &part.shape {
            Shape::Plain(nodes) => (self.nodes(nodes, begin), Course::Plain),
            Shape::Chain(parts) => {
                let mut at = begin;
                let mut links = Vec::with_capacity(parts.len());
                for part in parts {
                    let link = self.stretch(part, at);
                    at = link.end;
                    links.push(link);
                }
                (at, Course::Chain(links))
            }
            Shape::Choice(parts) => {
                let end = self.state();
                let mut branches = Vec::with_capacity(parts.len());
                for part in parts {
                    let from = self.then(begin, Kind::Nothing);
                    let branch = self.stretch(part, from);
                    self.lead(branch.end, Kind::Nothing, end);
                    branches.push(branch);
                }
                (end, Course::Choice(branches))
            }
            Shape::Rounds(part, most) => {
                let between = self.then(begin, Kind::Nothing);
                let from = self.then(between, Kind::Nothing);
                let of = Box::new(self.stretch(part, from));
                // How many rounds there may be is counted when one is followed. Which ends there are at all
                // depends on it, too.
                let end = match most {
                    None => {
                        self.lead(of.end, Kind::Nothing, between);
                        self.then(between, Kind::Nothing)
                    }
                    Some(most) => {
                        let end = self.state();
                        self.lead(begin, Kind::Nothing, end);
                        let node = self.up_to(part, most.saturating_sub(1), of.end);
                        self.lead(node, Kind::Nothing, end);
                        end
                    }
                };
                (end, Course::Rounds { of, between, most: *most })
            }
        };
        Stretch {
            begin,
            end,
            prefers_least: part.taste.prefers_least(),
            has_groups: part.taste.group,
            groups: part.groups.clone(),
            course,
        }
    }

    /// Up to so many rounds more; where they end.
    fn up_to(&mut self, part: &Part, most: u32, from: State) -> State {
        let end = self.state();
        let mut at = from;
        for _ in 0..most {
            self.lead(at, Kind::Nothing, end);
            let begin = self.then(at, Kind::Nothing);
            at = self.stretch(part, begin).end;
        }
        self.lead(at, Kind::Nothing, end);
        end
    }

    fn nodes(&mut self, nodes: &[Node], begin: State) -> State {
        nodes.iter().fold(begin, |at, node| self.node(node, at))
    }

    fn node(&mut self, node: &Node, at: State) -> State {
        match node {
            Node::One(set) => self.then(at, Kind::One(set.clone())),
            Node::At(constraint) => self.then(at, Kind::At(*constraint)),
            Node::Group(_, inner) => self.node(inner, at),
            Node::Sequence(nodes) => self.nodes(nodes, at),
            Node::Choice(branches) => {
                let end = self.state();
                for branch in branches {
                    let begin = self.then(at, Kind::Nothing);
                    let ended = self.node(branch, begin);
                    self.lead(ended, Kind::Nothing, end);
                }
                end
            }
            Node::Repeat { of, least, most, .. } => {
                let mut at = at;
                for _ in 0..*least {
                    at = self.node(of, at);
                }
                let Some(most) = most else {
                    let between = self.then(at, Kind::Nothing);
                    let ended = self.node(of, between);
                    self.lead(ended, Kind::Nothing, between);
                    return self.then(between, Kind::Nothing);
                };
                let end = self.state();
                for _ in *least..*most {
                    self.lead(at, Kind::Nothing, end);
                    at = self.node(of, at);
                }
                self.lead(at, Kind::Nothing, end);
                end
            }
        }
    }

    /// Whether the whole takes the shortest match.
    pub(super) fn prefers_least(&self) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.prefers_least)
    }

    /// Where the match of the whole that begins at a byte ends.
    pub(super) fn end(&self, text: &str, from: usize) -> Result<Option<usize>> {
        let Some(whole) = &self.whole else { return Ok(None) };
        let mut found = None;
        let within = Within { machine: self, text, span: (from, text.len()) };
        within.forwards(whole, from, &mut |at| {
            found = Some(at);
            if whole.prefers_least { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    /// What the groups stand for in a match of the whole; the first of them is that match.
    pub(super) fn groups(&self, text: &str, span: Span, count: usize) -> Result<Vec<Option<Span>>> {
        let mut groups = vec![None; count + 1];
        if let Some(all) = groups.first_mut() {
            *all = Some(span);
        }
        if let Some(whole) = &self.whole {
            follow(self, text, whole, span, &mut groups)?;
        }
        Ok(groups)
    }
}

/// Says what the groups of a stretch stand for that goes from one place to another.
fn follow(
    machine: &Machine,
    text: &str,
    stretch: &Stretch,
    span: Span,
    groups: &mut [Option<Span>],
) -> Result<()> {
    for number in &stretch.groups {
        if let Some(group) = groups.get_mut(*number) {
            *group = Some(span);
        }
    }
    if !stretch.has_groups {
        return Ok(());
    }
    let within = Within { machine, text, span };
    let (from, to) = span;
    match &stretch.course {
        Course::Plain => Ok(()),
        Course::Chain(links) => {
            let mut from = from;
            for (at, link) in links.iter().enumerate() {
                let rest = links.get(at + 1..).unwrap_or_default();
                let end = if rest.is_empty() {
                    to
                } else {
                    let within = Within { span: (from, to), ..within };
                    let ends =
                        within.starts(link.end, stretch.end, link.end, &Places::only(to, (from, to)))?;
                    within.choose(link, from, |at| ends.has(at))?.unwrap_or(to)
                };
                follow(machine, text, link, (from, end), groups)?;
                if !rest.iter().any(|link| link.has_groups) {
                    break;
                }
                from = end;
            }
            Ok(())
        }
        Course::Choice(branches) => {
            for branch in branches {
                let mut spans = false;
                within.forwards(branch, from, &mut |at| {
                    spans = at == to;
                    ControlFlow::Continue(())
                })?;
                if spans {
                    return follow(machine, text, branch, span, groups);
                }
            }
            Ok(())
        }
        Course::Rounds { of, between, most } => {
            let Some(last) = within.last_round(stretch, of, *between, *most)? else { return Ok(()) };
            follow(machine, text, of, (last, to), groups)
        }
    }
}

/// A machine at a part of a text.
#[derive(Clone, Copy)]
struct Within<'a> {
    machine: &'a Machine,
    text: &'a str,
    span: Span,
}

impl Within<'_> {
    /// Where a stretch from here ends, by what it prefers, among places that are good.
    fn choose(
        self,
        stretch: &Stretch,
        from: usize,
        mut is_good: impl FnMut(usize) -> bool,
    ) -> Result<Option<usize>> {
        let mut chosen = None;
        self.forwards(stretch, from, &mut |at| {
            if is_good(at) {
                chosen = Some(at);
                if stretch.prefers_least {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(chosen)
    }

    /// Where the last of the rounds begins that together span all of this. Each takes something, and leaves
    /// the others what they need.
    fn last_round(
        self,
        all: &Stretch,
        of: &Stretch,
        between: State,
        most: Option<u32>,
    ) -> Result<Option<usize>> {
        let (mut from, to) = self.span;
        if from == to {
            // None where a round takes the least, else one that takes nothing, if it may.
            return if of.prefers_least { Ok(None) } else { self.choose(of, from, |at| at == to) };
        }
        // From where so many rounds lead to the end; without a limit, any number.
        let mut left = vec![Places::only(to, self.span)];
        match most {
            None => left = vec![self.starts(all.begin, all.end, between, &Places::only(to, self.span))?],
            Some(most) => {
                for _ in 1..most {
                    let Some(reached) = left.last() else { break };
                    let mut more = self.starts(of.begin, of.end, of.begin, reached)?;
                    if !more.add(reached) {
                        break;
                    }
                    left.push(more);
                }
            }
        }
        let mut rounds = most.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        loop {
            rounds = rounds.map(|rounds| rounds.saturating_sub(1));
            let leads = left.get(rounds.unwrap_or(0)).or(left.last());
            let is_good = |at: usize| at > from && leads.is_some_and(|leads| leads.has(at));
            match self.choose(of, from, is_good)? {
                Some(end) if end == to => return Ok(Some(from)),
                Some(end) => from = end,
                None => return Ok(None),
            }
        }
    }

    /// Visits the places where a stretch from a place may end, in order.
    fn forwards(
        self,
        stretch: &Stretch,
        from: usize,
        visit: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<()> {
        let (bytes, text) = (self.text.as_bytes(), self.text);
        let mut states = States::new(&self.machine.out, bytes, stretch.end);
        let mut at = from;
        states.enter(stretch.begin, at);
        loop {
            if states.has(stretch.end) && visit(at).is_break() {
                return Ok(());
            }
            let next = text.get(at..self.span.1).and_then(|rest| rest.chars().next());
            let Some(c) = next.filter(|_| !states.active.is_empty()) else { return Ok(()) };
            at += c.len_utf8();
            states.advance(c, at)?;
        }
    }

    /// From where in the span, at the state `watched`, one of these places is reached at the state `last`. It
    /// is not gone back beyond the state `first`.
    fn starts(self, first: State, last: State, watched: State, reached: &Places) -> Result<Places> {
        let (bytes, text) = (self.text.as_bytes(), self.text);
        let mut states = States::new(&self.machine.into, bytes, first);
        let (from, mut at) = self.span;
        let mut found = Places::none(self.span);
        loop {
            if reached.has(at) {
                states.enter(last, at);
            }
            if states.has(watched) {
                found.put(at);
            }
            let before = text.get(from..at).and_then(|rest| rest.chars().next_back());
            let Some(c) = before else { return Ok(found) };
            at -= c.len_utf8();
            states.advance(c, at)?;
        }
    }
}

/// The states that a machine is in at a place.
struct States<'a> {
    edges: &'a [Vec<Edge>],
    text: &'a [u8],
    /// Nothing is entered behind it.
    bound: State,
    active: Vec<State>,
    before: Vec<State>,
    /// For each state the step in which it was entered last.
    entered: Vec<usize>,
    step: usize,
    looked: usize,
}

impl<'a> States<'a> {
    fn new(edges: &'a [Vec<Edge>], text: &'a [u8], bound: State) -> Self {
        let entered = vec![0; edges.len()];
        Self { edges, text, bound, active: Vec::new(), before: Vec::new(), entered, step: 1, looked: 0 }
    }

    fn has(&self, state: State) -> bool {
        self.entered.get(state) == Some(&self.step)
    }

    fn enter(&mut self, state: State, at: usize) {
        let first = self.active.len();
        self.add(state);
        let mut next = first;
        while let Some(state) = self.active.get(next).copied() {
            next += 1;
            if state == self.bound {
                continue;
            }
            for edge in self.edges.get(state).into_iter().flatten() {
                let leads = match &edge.kind {
                    Kind::Nothing => true,
                    Kind::At(constraint) => constraint.holds(self.text, at),
                    Kind::One(_) => false,
                };
                if leads {
                    self.add(edge.to);
                }
            }
        }
    }

    fn add(&mut self, state: State) {
        if let Some(entered) = self.entered.get_mut(state).filter(|entered| **entered != self.step) {
            *entered = self.step;
            self.active.push(state);
        }
    }

    /// Goes over a character, to the place `at`.
    fn advance(&mut self, c: char, at: usize) -> Result<()> {
        self.looked += self.active.len() + 1;
        if self.looked >= work::STEPS {
            self.looked = 0;
            work::check()?;
        }
        self.step += 1;
        let before = std::mem::take(&mut self.active);
        self.active = std::mem::take(&mut self.before);
        self.active.clear();
        let bound = self.bound;
        for state in before.iter().filter(|state| **state != bound) {
            for edge in self.edges.get(*state).into_iter().flatten() {
                if matches!(&edge.kind, Kind::One(set) if set.has(c)) {
                    self.enter(edge.to, at);
                }
            }
        }
        self.before = before;
        Ok(())
    }
}

/// Places of a span.
struct Places {
    from: usize,
    bits: Vec<u64>,
}

impl Places {
    fn none((from, to): Span) -> Self {
        Self { from, bits: vec![0; (to - from) / 64 + 1] }
    }

    fn only(at: usize, span: Span) -> Self {
        let mut places = Self::none(span);
        places.put(at);
        places
    }

    fn put(&mut self, at: usize) {
        let at = at - self.from;
        if let Some(bits) = self.bits.get_mut(at / 64) {
            *bits |= 1 << (at % 64);
        }
    }

    fn has(&self, at: usize) -> bool {
        let at = at - self.from;
        self.bits.get(at / 64).is_some_and(|bits| bits >> (at % 64) & 1 == 1)
    }

    /// Adds others of the same span; whether there are more than those.
    fn add(&mut self, others: &Self) -> bool {
        let mut is_more = false;
        for (bits, others) in self.bits.iter_mut().zip(&others.bits) {
            is_more |= *bits & !others != 0;
            *bits |= others;
        }
        is_more
    }
}
