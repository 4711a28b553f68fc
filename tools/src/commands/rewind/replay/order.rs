//! The order of a transaction's statements. Rows go before others come, and an UPDATE that gives a value up
//! comes before one that takes it for another row of the table: a unique constraint refuses two of them at
//! any moment.
//!
//! The file does not have the constraints. A column in which no two of the changed rows have the same value
//! may be unique by itself: its order is kept, and where rows exchange values, there is none, which a comment
//! says. Any other column may be part of a constraint over several: its order is kept where that is possible.

use super::change::{Moves, Op, Statement};
use super::sql::{Columns, written_once};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

/// The lines of all these statements.
pub(super) fn in_order(statements: Vec<Statement<'_>>) -> Vec<String> {
    let (updates, mut others): (Vec<_>, Vec<_>) =
        statements.into_iter().partition(|statement| statement.op == Op::Update);
    others.sort_by_key(|statement| statement.op);
    let first = others.partition_point(|statement| statement.op < Op::Update);
    let mut lines: Vec<String> = others.into_iter().map(|statement| statement.text).collect();
    let rest = lines.split_off(first);
    lines.extend(updates_in_order(updates));
    lines.extend(rest);
    lines
}

/// A value in a column of a table. Numbers that are equal and written differently are one.
type Place<'c> = (&'c str, &'c str, Cow<'c, str>);

fn places<'c>(moves: &Moves<'c>, side: fn(&Moves<'c>) -> &'c Columns) -> Vec<Place<'c>> {
    let row = side(moves).iter();
    row.filter_map(|(column, value)| Some((moves.table, column.as_str(), written_once(value.as_str()?))))
        .collect()
}

/// The values that an UPDATE gives up, and those that it takes.
fn changed<'c>(moves: &Moves<'c>) -> [Vec<Place<'c>>; 2] {
    let value = |of: &'c Columns, column: &str| of.get(column).and_then(Value::as_str).map(written_once);
    let [mut old, mut new] = [places(moves, |moves| moves.old), places(moves, |moves| moves.new)];
    old.retain(|(_, column, held)| value(moves.new, column).as_ref() != Some(held));
    new.retain(|(_, column, held)| value(moves.old, column).as_ref() != Some(held));
    [old, new]
}

/// Columns in which two of the rows have one value, before or after.
fn shared<'c>(updates: &[Statement<'c>]) -> HashSet<(&'c str, &'c str)> {
    let (mut shared, mut seen) = (HashSet::new(), [HashSet::new(), HashSet::new()]);
    for moves in updates.iter().filter_map(|update| update.moves.as_ref()) {
        let sides = [places(moves, |moves| moves.old), places(moves, |moves| moves.new)];
        for (seen, side) in seen.iter_mut().zip(sides) {
            let again = side.into_iter().filter(|place| !seen.insert(place.clone()));
            shared.extend(again.map(|(table, column, _)| (table, column)));
        }
    }
    shared
}

/// An UPDATE, or behind all of them a value that some give up and others take.
#[derive(Default)]
struct Node {
    /// UPDATEs that must come later, and those that must come first.
    before: Vec<usize>,
    after: Vec<usize>,
    /// What comes later where that is possible: values of an UPDATE, and UPDATEs of a value.
    rather_before: Vec<usize>,
    /// How many have not come yet of those that must come first, and of those that should.
    waits: usize,
    rather_waits: usize,
    is_done: bool,
}

/// The UPDATEs that have not come yet.
struct Waiting {
    nodes: Vec<Node>,
    updates: usize,
    /// Those that wait for nothing, and those that wait for none that must come first.
    ready: VecDeque<usize>,
    rather_late: VecDeque<usize>,
    /// No one before this is left.
    first: usize,
    /// Each of these waits for the next one.
    path: Vec<usize>,
    places_on_path: HashMap<usize, usize>,
}

impl Waiting {
    fn new(updates: &[Statement<'_>]) -> Self {
        let moves: Vec<(usize, [Vec<Place<'_>>; 2])> = updates
            .iter()
            .enumerate()
            .filter_map(|(at, update)| Some((at, changed(update.moves.as_ref()?))))
            .collect();
        let mut givers: HashMap<Place<'_>, Vec<usize>> = HashMap::new();
        for (at, [given, _]) in &moves {
            given.iter().for_each(|place| givers.entry(place.clone()).or_default().push(*at));
        }
        let mut waiting = Self {
            nodes: updates.iter().map(|_| Node::default()).collect(),
            updates: updates.len(),
            ready: VecDeque::new(),
            rather_late: VecDeque::new(),
            first: 0,
            path: Vec::new(),
            places_on_path: HashMap::new(),
        };
        let (shared, mut values) = (shared(updates), HashMap::new());
        for (at, [_, taken]) in &moves {
            for place in taken {
                let Some(givers) = givers.get(place) else { continue };
                if shared.contains(&(place.0, place.1)) {
                    let value = *values.entry(place.clone()).or_insert_with(|| waiting.add_value(givers));
                    waiting.rather(value, *at);
                } else {
                    givers.iter().for_each(|giver| waiting.must(*giver, *at));
                }
            }
        }
        (0..updates.len()).for_each(|at| waiting.note_free(at));
        waiting
    }

    /// One UPDATE must come before another.
    fn must(&mut self, first: usize, then: usize) {
        self.nodes[first].before.push(then);
        self.nodes[then].after.push(first);
        self.nodes[then].waits += 1;
    }

    /// What should come before another.
    fn rather(&mut self, first: usize, then: usize) {
        self.nodes[first].rather_before.push(then);
        self.nodes[then].rather_waits += 1;
    }

    /// A value is free when all that give it up have come.
    fn add_value(&mut self, givers: &[usize]) -> usize {
        let value = self.nodes.len();
        self.nodes.push(Node::default());
        givers.iter().for_each(|giver| self.rather(*giver, value));
        value
    }

    /// Notes an UPDATE that need not wait any more.
    fn note_free(&mut self, at: usize) {
        match self.nodes[at] {
            Node { is_done: false, waits: 0, rather_waits: 0, .. } => self.ready.push_back(at),
            Node { is_done: false, waits: 0, .. } => self.rather_late.push_back(at),
            _ => {}
        }
    }

    /// Those that come next, one or some that wait for each other.
    fn next(&mut self) -> Option<Vec<usize>> {
        let mut next = None;
        while next.is_none() {
            let Some(at) = self.ready.pop_front().or_else(|| self.rather_late.pop_front()) else { break };
            next = Some(vec![at]).filter(|_| !self.nodes[at].is_done);
        }
        let next = next.or_else(|| self.circle())?;
        next.iter().for_each(|at| self.nodes[*at].is_done = true);
        next.iter().for_each(|at| self.release(*at));
        Some(next)
    }

    /// Frees what waited for an UPDATE.
    fn release(&mut self, at: usize) {
        for later in std::mem::take(&mut self.nodes[at].before) {
            self.nodes[later].waits -= 1;
            self.note_free(later);
        }
        for value in std::mem::take(&mut self.nodes[at].rather_before) {
            self.nodes[value].rather_waits -= 1;
            if self.nodes[value].rather_waits > 0 {
                continue;
            }
            for later in std::mem::take(&mut self.nodes[value].rather_before) {
                self.nodes[later].rather_waits -= 1;
                self.note_free(later);
            }
        }
    }

    /// Some that wait for each other, where each that is left waits for another one that is.
    fn circle(&mut self) -> Option<Vec<usize>> {
        while let Some(last) = self.path.pop_if(|last| self.nodes[*last].is_done) {
            self.places_on_path.remove(&last);
        }
        while self.first < self.updates && self.nodes[self.first].is_done {
            self.first += 1;
        }
        let mut at = self.path.last().copied().or((self.first < self.updates).then_some(self.first))?;
        loop {
            if self.path.last() != Some(&at) {
                self.places_on_path.insert(at, self.path.len());
                self.path.push(at);
            }
            at = loop {
                let first = *self.nodes[at].after.last()?;
                if !self.nodes[first].is_done {
                    break first;
                }
                self.nodes[at].after.pop();
            };
            if let Some(place) = self.places_on_path.get(&at) {
                let mut circle = self.path.split_off(*place);
                for at in &circle {
                    self.places_on_path.remove(at);
                }
                circle.sort_unstable();
                return Some(circle);
            }
        }
    }
}

/// The lines of UPDATEs.
fn updates_in_order(mut updates: Vec<Statement<'_>>) -> Vec<String> {
    let (mut waiting, mut lines) = (Waiting::new(&updates), Vec::with_capacity(updates.len()));
    while let Some(next) = waiting.next() {
        if next.len() > 1 {
            lines.push(format!(
                "-- the rows of the next {} statements exchange values, which a unique constraint refuses",
                next.len()
            ));
        }
        lines.extend(next.into_iter().map(|at| std::mem::take(&mut updates[at].text)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::rewind::replay::change::Change;
    use serde_json::json;

    /// The ids of the rows in the order of their UPDATEs, with what is said of them. Each row: its id, and
    /// values before and after.
    fn order(columns: [&str; 2], rows: &[(u32, [&str; 2], [&str; 2])]) -> Vec<String> {
        let lines: Vec<Value> = rows
            .iter()
            .map(|(id, old, new)| {
                let row = |of: &[&str; 2]| json!({"id": id.to_string(), columns[0]: of[0], columns[1]: of[1]});
                json!({"table": "t", "op": "update", "key": {"id": id.to_string()}, "old": row(old), "new": row(new)})
            })
            .collect();
        let changes: Vec<Change<'_>> = lines.iter().map(Change::of).collect();
        let lines = in_order(changes.iter().map(Change::statement).collect());
        let id = |line: &String| {
            let after = line.split("\"id\" = '").nth(1);
            after.map_or_else(|| line.clone(), |id| id.split('\'').next().unwrap_or_default().to_owned())
        };
        lines.iter().map(id).collect()
    }

    #[test]
    fn an_update_that_gives_a_value_up_comes_before_the_one_that_takes_it() {
        let rows = [
            (1, ["a", "x"], ["b", "x"]),
            (2, ["b", "x"], ["c", "x"]),
            (3, ["p", "x"], ["q", "x"]),
            (4, ["c", "x"], ["d", "x"]),
            (5, ["d", "x"], ["d", "y"]),
        ];
        assert_eq!(order(["u", "v"], &rows), ["3", "4", "5", "2", "1"]);
    }

    #[test]
    fn rows_that_exchange_values_keep_their_order_and_it_is_said() {
        let rows = [
            (1, ["z", "x"], ["a", "x"]),
            (2, ["a", "x"], ["b", "x"]),
            (3, ["b", "x"], ["c", "x"]),
            (4, ["c", "x"], ["a1", "x"]),
            (5, ["f", "x"], ["g", "x"]),
            (6, ["g", "x"], ["f", "x"]),
            (7, ["h", "x"], ["f1", "x"]),
        ];
        let said = "-- the rows of the next 2 statements exchange values, which a unique constraint refuses";
        assert_eq!(order(["u", "v"], &rows), ["4", "7", "3", "2", "1", said, "5", "6"]);
        let three = [
            (1, ["a", "x"], ["b", "x"]),
            (2, ["b", "x"], ["c", "x"]),
            (3, ["c", "x"], ["a", "x"]),
            (4, ["e", "x"], ["e", "y"]),
        ];
        let said = "-- the rows of the next 3 statements exchange values, which a unique constraint refuses";
        assert_eq!(order(["u", "v"], &three), ["4", said, "1", "2", "3"]);
    }

    /// As in UNIQUE (list, place).
    #[test]
    fn a_value_that_several_rows_have_is_given_up_first_where_that_is_possible() {
        let rows = [
            (1, ["l1", "1"], ["l1", "2"]),
            (2, ["l2", "1"], ["l2", "2"]),
            (3, ["l1", "2"], ["l1", "3"]),
            (4, ["l2", "2"], ["l2", "3"]),
        ];
        assert_eq!(order(["list", "place"], &rows), ["3", "4", "1", "2"]);
        let flags = [
            (1, ["t", "1"], ["f", "2"]),
            (2, ["f", "2"], ["t", "3"]),
            (3, ["t", "3"], ["f", "4"]),
            (4, ["f", "8"], ["t", "8"]),
        ];
        assert_eq!(order(["flag", "u"], &flags), ["3", "4", "2", "1"], "and no word of a circle");
    }

    #[test]
    fn many_rows_that_move_on_are_ordered_at_once() {
        let rows: Vec<_> = (0..50_000).map(|id: u32| (id, id.to_string(), (id + 1).to_string())).collect();
        let rows: Vec<_> =
            rows.iter().map(|(id, old, new)| (*id, [old.as_str(), "x"], [new.as_str(), "x"])).collect();
        let order = order(["u", "v"], &rows);
        assert!(order.iter().rev().enumerate().all(|(at, id)| *id == at.to_string()));
    }
}
