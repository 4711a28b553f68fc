//! What a transaction is made of.

use super::{PARTS_MAX, TICKET};
use crate::features::{Feature, Features};
use crate::history::LARGE;
use crate::history::registers::REGISTERS;
use fastrand::Rng;
use std::collections::BTreeSet;

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A statement.
    Sql(String),
    /// Adds one to a register that is to stay.
    Add(u8),
    /// Locks a register and tells who wrote it last.
    Lock(u8),
    /// Deletes a register that is to stay, and inserts it again with one more.
    Reinsert(u8),
    /// Copies these lines into `parts`.
    Copy(String),
    /// Nothing for so many milliseconds.
    Linger(u64),
}

/// The steps between BEGIN and COMMIT, and what they leave.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) tx: u64,
    pub(super) steps: Vec<Step>,
    pub(super) kept: BTreeSet<u32>,
    pub(super) adds: BTreeSet<u8>,
    /// Whether its updates tell nothing of the rows that they change.
    pub(super) quiet: bool,
    next_part: u32,
}

/// What makes a transaction more than an insert and an update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) savepoints: bool,
    pub(super) large: bool,
    pub(super) copy: bool,
    pub(super) reinsert: bool,
}

impl Traits {
    /// Some of those that are switched on.
    pub(super) fn random(rng: &mut Rng, features: &Features) -> Self {
        let mut at_times = |feature, times| features.has(feature) && rng.u8(..times) == 0;
        Self {
            savepoints: at_times(Feature::Savepoints, 4),
            large: at_times(Feature::Large, 5),
            copy: at_times(Feature::Copy, 6),
            reinsert: at_times(Feature::Reinsert, 4),
        }
    }

    /// The most telling of them.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self { large: true, .. } => LARGE,
            Self { copy: true, .. } => "copy",
            Self { savepoints: true, .. } => "savepoints",
            Self { reinsert: true, .. } => "reinsert",
            _ => "insert",
        }
    }
}

/// Adds one to a register, and tells its value unless it is to be quiet.
pub(super) fn add(register: u8, tx: u64, quiet: bool) -> String {
    let tells = if quiet { "" } else { " RETURNING v" };
    format!("UPDATE registers SET v = v + 1, tx = {tx} WHERE k = {register}{tells}")
}

/// Locks a register and tells who wrote it last.
pub(super) fn lock(register: u8) -> String {
    format!("SELECT v, tx FROM registers WHERE k = {register} FOR UPDATE")
}

impl Script {
    /// A transaction's script.
    pub(super) fn random(rng: &mut Rng, tx: u64, traits: Traits) -> Self {
        let mut script = Self { tx, ..Self::default() };
        // In order, so that transactions never deadlock; the first ones are hot.
        let among = if rng.bool() { REGISTERS } else { 3 };
        let adds = (0..1 + rng.usize(..3)).map(|_| rng.u8(..among as u8)).collect();
        script.adds = adds;
        script.quiet = !traits.reinsert && rng.u8(..4) == 0;
        if traits.large && rng.u8(..3) > 0 {
            return script.at_once(rng, traits);
        }
        let count = if traits.large { rng.u32(40..90) } else { rng.u32(1..4) };
        let length = if traits.large { 1000..2000 } else { 0..200 };
        let early = rng.u32(..count);
        for at in 0..count {
            if at == early {
                script.touch_registers(rng, traits);
            }
            match rng.u8(..4) {
                0 if traits.savepoints => script.undone(rng, length.clone()),
                1 if traits.savepoints => script.within(rng, length.clone()),
                _ if traits.copy => script.copied(rng, length.clone()),
                _ => {
                    let part = script.part(rng, length.clone());
                    script.steps.push(Step::Sql(part));
                }
            }
        }
        if rng.u8(..4) == 0 {
            script.kept.insert(TICKET);
            script.steps.push(Step::Sql(format!("INSERT INTO tickets (tx) VALUES ({tx})")));
        }
        if script.kept.is_empty() {
            let part = script.part(rng, length);
            script.steps.push(Step::Sql(part));
        }
        script
    }

    /// Many rows by few statements. It stays open for a while, often with all its rows written.
    fn at_once(mut self, rng: &mut Rng, traits: Traits) -> Self {
        if rng.u8(..3) == 0 {
            self.touch_registers(rng, traits);
        }
        for _ in 0..1 + rng.u8(..3) {
            let rows = self.rows(rng);
            self.steps.push(Step::Sql(rows));
            if rng.bool() {
                self.steps.push(Step::Linger(rng.u64(1..400)));
            }
        }
        if !self.steps.iter().any(|step| matches!(step, Step::Add(_) | Step::Reinsert(_))) {
            self.touch_registers(rng, traits);
        }
        self
    }

    /// Rows that stay, by one statement.
    fn rows(&mut self, rng: &mut Rng) -> String {
        let (first, count) = (self.next_part, rng.u32(30..90));
        self.next_part += count;
        self.kept.extend(first..self.next_part);
        let (id, tx, filler, last) = (self.id(0), self.tx, filler(rng, 10..20), self.next_part - 1);
        let times = rng.u32(40..110);
        format!(
            "INSERT INTO parts SELECT {id} + g, {tx}, g, repeat('{filler}', {times}) \
             FROM generate_series({first}, {last}) g"
        )
    }

    fn touch_registers(&mut self, rng: &mut Rng, traits: Traits) {
        for register in self.adds.clone() {
            let again = traits.reinsert && rng.bool();
            if !self.quiet && rng.u8(..5) == 0 {
                self.steps.push(Step::Lock(register));
            }
            self.steps.push(if again { Step::Reinsert(register) } else { Step::Add(register) });
        }
        let highest = self.adds.last().copied().unwrap_or(0);
        if traits.savepoints && usize::from(highest) + 1 < REGISTERS && rng.bool() {
            // One that is taken back, behind the others.
            let register = rng.u8(highest + 1..REGISTERS as u8);
            let add = add(register, self.tx, self.quiet);
            self.steps.push(Step::Sql(format!("SAVEPOINT r; {add}; ROLLBACK TO r; RELEASE r")));
        }
    }

    fn number(&mut self) -> u32 {
        self.next_part += 1;
        self.next_part - 1
    }

    fn id(&self, part: u32) -> u64 {
        self.tx * PARTS_MAX + u64::from(part)
    }

    fn insert(&self, part: u32, filler: &str) -> String {
        format!("INSERT INTO parts VALUES ({}, {}, {part}, '{filler}')", self.id(part), self.tx)
    }

    /// A part that stays.
    fn part(&mut self, rng: &mut Rng, length: std::ops::Range<usize>) -> String {
        let part = self.number();
        self.kept.insert(part);
        self.insert(part, &filler(rng, length))
    }

    /// A part in a savepoint that is kept.
    fn within(&mut self, rng: &mut Rng, length: std::ops::Range<usize>) {
        let part = self.part(rng, length);
        self.steps.push(Step::Sql(format!("SAVEPOINT s; {part}; RELEASE s")));
    }

    /// Parts in savepoints that are taken back, the inner one kept in the outer.
    fn undone(&mut self, rng: &mut Rng, length: std::ops::Range<usize>) {
        let (outer, inner) = (self.number(), self.number());
        let filler = filler(rng, length);
        let (outer, inner) = (self.insert(outer, &filler), self.insert(inner, &filler));
        let sql = format!("SAVEPOINT u; {outer}; SAVEPOINT i; {inner}; RELEASE i; ROLLBACK TO u");
        self.steps.push(Step::Sql(sql));
    }

    fn copied(&mut self, rng: &mut Rng, length: std::ops::Range<usize>) {
        let mut lines = String::new();
        for _ in 0..1 + rng.u8(..3) {
            let part = self.number();
            self.kept.insert(part);
            let filler = filler(rng, length.clone());
            lines.push_str(&format!("{}\t{}\t{part}\t{filler}\n", self.id(part), self.tx));
        }
        self.steps.push(Step::Copy(lines));
    }

    /// Whether it can be sent as one message.
    pub(super) fn fits_one_message(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Sql(_) | Step::Add(_) | Step::Lock(_)))
    }
}

fn filler(rng: &mut Rng, length: std::ops::Range<usize>) -> String {
    let length = rng.usize(length);
    (0..length).map(|_| rng.lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_leaves_what_it_says_and_all_kinds_occur() {
        let mut kinds = BTreeSet::new();
        for seed in 0..300 {
            let mut rng = Rng::with_seed(seed);
            let traits = Traits::random(&mut rng, &Features::all());
            kinds.insert(traits.kind());
            let script = Script::random(&mut rng, 7, traits);
            assert!(!script.kept.is_empty() && !script.adds.is_empty());
            assert!(u64::from(script.next_part) < PARTS_MAX);
            let text = format!("{:?}", script.steps);
            for part in (0..script.next_part).filter(|_| !text.contains("generate_series")) {
                let id = 7 * PARTS_MAX + u64::from(part);
                assert_eq!(text.matches(&id.to_string()).count(), 1, "each part is written once: {text}");
            }
            let touched = script.steps.iter().filter_map(|step| match step {
                Step::Add(register) | Step::Reinsert(register) => Some(*register),
                _ => None,
            });
            assert!(touched.eq(script.adds.iter().copied()), "in order, each once: {text}");
        }
        assert_eq!(kinds, ["large", "copy", "savepoints", "reinsert", "insert"].into());
    }
}
