//! What clients of several nodes wrote and read, and whether one order of commits explains it.
//!
//! The registers are counters: each write adds one to some of them in one transaction, so a value names the
//! write that made it. A read looks at all of them in one snapshot. If every snapshot is a prefix of one
//! order of commits, then
//!
//! - any two reads, wherever they were taken, can be compared: one is nowhere behind the other (no long
//!   fork);
//! - each write is seen whole or not at all;
//! - a read at log position L has exactly the writes whose commits end at or before L (and no commit lies
//!   between L and the token that it asked for, should that be ahead);
//!
//! and if tokens keep their promise, then
//!
//! - who asks for a token reads at least what the token's commit or snapshot had: a client its own writes,
//!   and never less than it read before, on whatever node.

use std::fmt;

/// How many registers there are.
pub const REGISTERS: usize = 12;

/// The value of each register.
pub type Values = [u32; REGISTERS];

/// A position in the log: of a commit's end, or of a snapshot.
pub type Position = u64;

/// One operation of a client, in the order in which it did them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A transaction that was acknowledged.
    Write {
        /// The token that it reported.
        at: Position,
        /// Each register that it wrote, with the value that it left.
        wrote: Vec<(u8, u32)>,
    },
    /// A look at all registers.
    Read {
        /// Which node was asked.
        node: u8,
        /// The token that was asked for; 0 for none.
        after: Position,
        /// The token of the snapshot.
        at: Position,
        /// What was there.
        values: Values,
    },
}

/// What is wrong with a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A client read less than it had written.
    OwnWrite,
    /// A client read less than it had read before.
    WentBack,
    /// Two reads are each behind the other somewhere.
    Fork,
    /// Part of a write was seen without the rest.
    Torn,
    /// A read at a position lacks a write before it, or has one behind it.
    NotThePrefix,
    /// Two acknowledged writes left the same value, or a later one a lesser value.
    LostWrite,
    /// After a failover something is missing that was read before.
    Lost,
}

/// What no one order of commits explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What kind of a thing it is.
    pub kind: Kind,
    /// Which operations; clients and operations by their places in the history.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

fn violation<T>(kind: Kind, text: String) -> Result<T, Violation> {
    Err(Violation { kind, text })
}

/// A client's operations, in its order.
pub type Client = Vec<Operation>;

/// A read with its place.
struct Look<'h> {
    place: (usize, usize),
    /// Up to here it has everything: its own position, or what was asked for if no commit is between them.
    from: Position,
    /// Behind here it has nothing.
    at: Position,
    values: &'h Values,
}

impl fmt::Display for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {}/{} at {:X} of {:?}", self.place.0, self.place.1, self.at, self.values)
    }
}

/// Checks a whole history. Returns the number of operations that were checked.
pub fn check(history: &[Client]) -> Result<usize, Violation> {
    for (client, operations) in history.iter().enumerate() {
        check_session(client, operations)?;
    }
    let writes = writes_of(history)?;
    let mut looks = looks_of(history);
    check_prefixes(&writes, &looks)?;
    looks.sort_by_key(|look| look.values.iter().map(|value| u64::from(*value)).sum::<u64>());
    for pair in looks.windows(2) {
        let behind = |(left, right): (&u32, &u32)| left > right;
        if pair[0].values.iter().zip(pair[1].values).any(behind) {
            return violation(Kind::Fork, format!("{} and {}", pair[0], pair[1]));
        }
    }
    check_whole(history, &looks)?;
    Ok(history.iter().map(Vec::len).sum())
}

/// Checks that nothing that was read is missing in what is left.
pub fn check_kept(history: &[Client], left: &Values) -> Result<(), Violation> {
    for look in looks_of(history) {
        for (register, (read, left)) in (0..).zip(look.values.iter().zip(left)) {
            if read > left {
                return violation(Kind::Lost, format!("register {register} is {left} after {look}"));
            }
        }
    }
    Ok(())
}

fn looks_of(history: &[Client]) -> Vec<Look<'_>> {
    let mut looks = Vec::new();
    for (client, operations) in history.iter().enumerate() {
        for (operation, done) in operations.iter().enumerate() {
            if let Operation::Read { after, at, values, .. } = done {
                looks.push(Look { place: (client, operation), from: *at.max(after), at: *at, values });
            }
        }
    }
    looks
}

/// What a client has written and read itself.
fn check_session(client: usize, operations: &[Operation]) -> Result<(), Violation> {
    let mut written = [0; REGISTERS];
    let mut seen = [0; REGISTERS];
    for (operation, done) in operations.iter().enumerate() {
        match done {
            Operation::Write { wrote, .. } => {
                for (register, value) in wrote {
                    let own = &mut written[usize::from(*register)];
                    *own = (*own).max(*value);
                }
            }
            Operation::Read { values, .. } => {
                for (register, read) in (0_u8..).zip(values) {
                    let (wrote, before) = (written[usize::from(register)], seen[usize::from(register)]);
                    let read = *read;
                    if read < wrote {
                        let text = format!(
                            "{client}/{operation}: wrote {wrote} to register {register}, then {done:?}"
                        );
                        return violation(Kind::OwnWrite, text);
                    }
                    if read < before {
                        let text = format!(
                            "{client}/{operation}: read {before} of register {register}, then {done:?}"
                        );
                        return violation(Kind::WentBack, text);
                    }
                }
                seen = *values;
            }
        }
    }
    Ok(())
}

/// The acknowledged writes of each register by position.
fn writes_of(history: &[Client]) -> Result<Vec<Vec<(Position, u32)>>, Violation> {
    let mut writes = vec![Vec::new(); REGISTERS];
    for done in history.iter().flatten() {
        if let Operation::Write { at, wrote } = done {
            for (register, value) in wrote {
                writes[usize::from(*register)].push((*at, *value));
            }
        }
    }
    for (register, writes) in (0..).zip(&mut writes) {
        writes.sort_unstable();
        if let Some(pair) = writes.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
            return violation(Kind::LostWrite, format!("of register {register}: {pair:x?}"));
        }
    }
    Ok(writes)
}

/// A read has, of each register, the last write at or before its position. Writes that nobody was told of may
/// be between.
fn check_prefixes(writes: &[Vec<(Position, u32)>], looks: &[Look<'_>]) -> Result<(), Violation> {
    for look in looks {
        for (register, (writes, value)) in (0..).zip(writes.iter().zip(look.values)) {
            let up_to = |position| writes.partition_point(|(at, _)| *at <= position);
            let least = up_to(look.from).checked_sub(1).map_or(0, |last| writes[last].1);
            let most = writes.get(up_to(look.at)).map_or(u32::MAX, |(_, next)| next - 1);
            if !(least..=most).contains(value) {
                let text = format!("register {register} is not from {least} to {most} in {look}");
                return violation(Kind::NotThePrefix, text);
            }
        }
    }
    Ok(())
}

/// Among reads in order, a write appears in all of its registers at once.
fn check_whole(history: &[Client], looks: &[Look<'_>]) -> Result<(), Violation> {
    for (client, operations) in history.iter().enumerate() {
        for (operation, done) in operations.iter().enumerate() {
            let Operation::Write { wrote, .. } = done else { continue };
            let first_with = |(register, value): &(u8, u32)| {
                looks.partition_point(|look| look.values[usize::from(*register)] < *value)
            };
            let mut seen = wrote.iter().map(first_with);
            let Some(first) = seen.next() else { continue };
            if let Some(other) = seen.find(|other| *other != first) {
                let read = &looks[first.min(other)];
                return violation(Kind::Torn, format!("{client}/{operation}: {done:?} in {read}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of<T>(checked: Result<T, Violation>) -> Option<Kind> {
        checked.err().map(|violation| violation.kind)
    }

    fn values(first: u32, second: u32) -> Values {
        let mut values = [0; REGISTERS];
        (values[0], values[1]) = (first, second);
        values
    }

    fn write(at: Position, wrote: &[(u8, u32)]) -> Operation {
        Operation::Write { at, wrote: wrote.to_vec() }
    }

    fn read(node: u8, after: Position, at: Position, first: u32, second: u32) -> Operation {
        Operation::Read { node, after, at, values: values(first, second) }
    }

    /// Two writers and readers on three nodes, as they should be. The first write is of both registers.
    fn sound() -> Vec<Client> {
        vec![
            vec![write(10, &[(0, 1), (1, 1)]), read(1, 10, 10, 1, 1), write(30, &[(0, 2)])],
            vec![read(2, 0, 5, 0, 0), write(20, &[(1, 2)]), read(0, 20, 20, 1, 2), read(1, 20, 31, 2, 2)],
            vec![read(1, 0, 10, 1, 1), read(2, 10, 20, 1, 2), read(0, 20, 40, 2, 2)],
        ]
    }

    #[test]
    fn a_history_of_prefixes_of_one_order_passes() {
        assert_eq!(check(&sound()), Ok(10));
        assert_eq!(check_kept(&sound(), &values(2, 2)), Ok(()));
    }

    #[test]
    fn writes_of_which_nobody_was_told_may_be_seen() {
        let history = vec![
            vec![write(10, &[(0, 1)]), write(30, &[(0, 3)])],
            vec![read(1, 0, 10, 1, 0), read(1, 10, 20, 2, 0), read(2, 20, 30, 3, 0)],
        ];
        assert_eq!(check(&history), Ok(5));
    }

    #[test]
    fn each_planted_violation_is_found() {
        let planted = [
            (Kind::OwnWrite, 0, 1, read(1, 10, 10, 0, 1)),
            (Kind::WentBack, 2, 1, read(2, 10, 10, 0, 1)),
            (Kind::NotThePrefix, 2, 2, read(0, 30, 20, 1, 2)),
            (Kind::NotThePrefix, 2, 2, read(0, 20, 25, 2, 2)),
            (Kind::NotThePrefix, 1, 0, read(2, 0, 15, 0, 0)),
            (Kind::LostWrite, 1, 1, write(20, &[(1, 1)])),
        ];
        for (kind, client, operation, planted) in planted {
            let mut history = sound();
            history[client][operation] = planted;
            assert_eq!(kind_of(check(&history)), Some(kind));
        }
    }

    #[test]
    fn two_reads_that_are_each_behind_the_other_are_a_fork_whatever_their_tokens() {
        // Nobody was told of the writes, so positions prove nothing.
        let history = vec![vec![read(1, 0, 50, 1, 0)], vec![read(2, 0, 50, 0, 1)]];
        assert_eq!(kind_of(check(&history)), Some(Kind::Fork));
    }

    #[test]
    fn half_a_write_is_found_whatever_the_tokens() {
        let looks = [values(1, 0), values(1, 1)];
        let looks: Vec<Look<'_>> =
            looks.iter().map(|values| Look { place: (1, 0), from: 0, at: 0, values }).collect();
        let torn = check_whole(&[vec![write(10, &[(0, 1), (1, 1)])]], &looks);
        assert_eq!(kind_of(torn), Some(Kind::Torn));
    }

    #[test]
    fn what_was_read_and_is_gone_after_a_failover_is_found() {
        assert_eq!(kind_of(check_kept(&sound(), &values(2, 1))), Some(Kind::Lost));
    }
}
