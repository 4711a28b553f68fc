//! Sequences at work: numbers that are given out once, whatever becomes of the transactions that took them.
//!
//! The state of a sequence is a row of the catalogue's tree, under its OID and its state number: the last
//! value that may have been given out. A transaction of its own moves it [`AHEAD`] values on before the first
//! of them leaves; the others are counted in memory. So a number costs no log, none comes twice after a crash
//! or a promotion (up to `AHEAD` are lost then, as in PostgreSQL), and none is given back by a rollback.
//!
//! A sequence with a CACHE gives a session that many values at a time ([`Block`]), which nobody else gets.
//!
//! That transaction commits at the level of the session that needed it and nobody waits for it: whoever takes
//! a number depends on its position as on any row that is in doubt, and so do all answers with that number.
//!
//! ALTER SEQUENCE ... RESTART gives the sequence another state number, so that it is undone with its
//! transaction.
//!
//! Locks: `refill` is held while the row changes, `state` for a moment at a time and never across an await.

use crate::model::{Sequence, SequencePosition};
use crate::store;
use host::sync::Mutex;
use sql_interface::{Result, SqlError};
use sqlstate::SqlState;
use std::collections::HashMap;
use std::sync::Arc;
use storage::{Database, Isolation, SyncLevel, Transaction};
use wal::Lsn;

/// How many values after the next one are reserved at once, at least.
const AHEAD: u64 = 32;

/// The sequences that this server has given numbers of.
#[derive(Default)]
pub struct Sequences(Mutex<HashMap<(u32, u32), Arc<Cell>>>);

#[derive(Default)]
struct Cell {
    state: Mutex<State>,
    refill: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// None before the row was read.
    position: Option<SequencePosition>,
    /// How many values after `position` are reserved, at this distance from each other.
    reserved: u64,
    increment: i64,
    /// The end of the commit that reserved them.
    commit: Lsn,
}

/// What a sequence is like while values are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rules {
    state: u32,
    increment: i64,
    bounds: (i64, i64),
    cache: i64,
    cycle: bool,
}

impl Rules {
    fn of(sequence: &Sequence) -> Self {
        let Sequence { state, increment, min, max, cache, cycle, .. } = *sequence;
        Self { state, increment, bounds: (min, max), cache, cycle }
    }
}

/// Values that are one session's.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The last one that was taken.
    last: i64,
    left: u64,
    /// The end of the commit that they depend on.
    commit: Lsn,
    rules: Rules,
}

impl Block {
    /// The value that was taken last, and the end of the commit that it depends on.
    pub fn taken(&self) -> (i64, Lsn) {
        (self.last, self.commit)
    }

    /// Whether there are more.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Takes the next value. None: there is none, or the sequence is another one since.
    #[must_use]
    pub fn next(mut self, sequence: &Sequence) -> Option<Self> {
        if self.left == 0 || self.rules != Rules::of(sequence) {
            return None;
        }
        self.last = self.last.checked_add(sequence.increment)?;
        self.left -= 1;
        Some(self)
    }
}

/// How many values come after this one before the sequence ends or begins anew.
fn values_after(sequence: &Sequence, value: i64) -> u64 {
    let Sequence { increment, min, max, .. } = *sequence;
    let way =
        if increment > 0 { i128::from(max) - i128::from(value) } else { i128::from(value) - i128::from(min) };
    u64::try_from(way / i128::from(increment).abs().max(1)).unwrap_or(0)
}

/// The value so many steps behind another one, which is within the bounds.
fn value_behind(sequence: &Sequence, value: i64, steps: u64) -> i64 {
    let behind = i128::from(value) + i128::from(sequence.increment) * i128::from(steps);
    i64::try_from(behind).unwrap_or(value)
}

/// The value after a position: 2200H behind the last one, unless the sequence cycles.
fn next_value(sequence: &Sequence, position: SequencePosition) -> Result<i64> {
    let Sequence { increment, min, max, .. } = *sequence;
    if !position.is_called {
        return Ok(position.last);
    }
    let up = increment > 0;
    match position.last.checked_add(increment) {
        Some(next) if up && next <= max => Ok(next.max(min)),
        Some(next) if !up && next >= min => Ok(next.min(max)),
        _ if sequence.cycle => Ok(if up { min } else { max }),
        _ => {
            let (word, bound) = if up { ("maximum", max) } else { ("minimum", min) };
            Err(SqlError::new(
                SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED,
                format!("nextval: reached {word} value of sequence \"{}\" ({bound})", sequence.name),
            ))
        }
    }
}

/// How many values a session gets besides the one that it asks for.
fn cached(sequence: &Sequence) -> u64 {
    u64::try_from(sequence.cache).unwrap_or(1).saturating_sub(1)
}

impl Cell {
    /// As many reserved values as the sequence's CACHE says, or as there are up to its end.
    fn take(&self, sequence: &Sequence) -> Result<Option<Block>> {
        let mut state = self.state.lock();
        let Some(position) = state.position else { return Ok(None) };
        // What was reserved at another distance ends elsewhere.
        if state.reserved == 0 || state.increment != sequence.increment {
            return Ok(None);
        }
        let value = next_value(sequence, position)?;
        let left = cached(sequence).min(values_after(sequence, value));
        if state.reserved <= left {
            return Ok(None);
        }
        let last = value_behind(sequence, value, left);
        state.position = Some(SequencePosition { last, is_called: true });
        state.reserved -= left + 1;
        Ok(Some(Block { last: value, left, commit: state.commit, rules: Rules::of(sequence) }))
    }

    async fn position(&self, sequence: &Sequence, transaction: &mut Transaction) -> Result<SequencePosition> {
        let stored = store::lock_sequence_state(transaction, sequence.oid, sequence.state).await?;
        let known = self.state.lock().position;
        Ok(known.or(stored).unwrap_or_else(|| sequence.first_position()))
    }
}

impl Sequences {
    fn cell(&self, sequence: &Sequence) -> Arc<Cell> {
        self.0.lock().entry((sequence.oid, sequence.state)).or_default().clone()
    }

    /// The position in memory, if this server has given out numbers, and the end of the commit that it
    /// depends on.
    pub fn known(&self, sequence: &Sequence) -> Option<(SequencePosition, Lsn)> {
        let cell = self.0.lock().get(&(sequence.oid, sequence.state)).cloned()?;
        let State { position, commit, .. } = *cell.state.lock();
        Some((position?, commit))
    }

    /// nextval: the values that the session gets, of which the first is taken.
    ///
    /// # Errors
    ///
    /// 2200H after the last value, and what storage fails with.
    pub async fn next(&self, database: &Database, sequence: &Sequence, level: SyncLevel) -> Result<Block> {
        let cell = self.cell(sequence);
        loop {
            if let Some(taken) = cell.take(sequence)? {
                return Ok(taken);
            }
            let _only = cell.refill.lock().await;
            // Somebody else may have seen to it meanwhile.
            if let Some(taken) = cell.take(sequence)? {
                return Ok(taken);
            }
            reserve(database, &cell, sequence, level).await?;
        }
    }

    /// setval: the end of the commit that it is.
    ///
    /// # Errors
    ///
    /// 22003 for a position outside the bounds, and what storage fails with.
    pub async fn set(
        &self,
        database: &Database,
        sequence: &Sequence,
        position: SequencePosition,
        level: SyncLevel,
    ) -> Result<Lsn> {
        let Sequence { min, max, name, .. } = sequence;
        if position.last < *min || position.last > *max {
            return Err(SqlError::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                format!(
                    "setval: value {} is out of bounds for sequence \"{name}\" ({min}..{max})",
                    position.last
                ),
            ));
        }
        let cell = self.cell(sequence);
        let _only = cell.refill.lock().await;
        let mut transaction = database.begin(Isolation::ReadCommitted);
        transaction.begin_statement().await?;
        cell.position(sequence, &mut transaction).await?;
        // From here on nobody takes a number of before.
        cell.state.lock().reserved = 0;
        store::put_sequence_state(&mut transaction, sequence.oid, sequence.state, position)?;
        let commit = transaction.commit_in_doubt(level).await?.lsn;
        *cell.state.lock() =
            State { position: Some(position), reserved: 0, increment: sequence.increment, commit };
        Ok(commit)
    }
}

/// Moves the stored row on, and lets that many values be taken.
async fn reserve(database: &Database, cell: &Cell, sequence: &Sequence, level: SyncLevel) -> Result<()> {
    let mut transaction = database.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await?;
    let from = cell.position(sequence, &mut transaction).await?;
    // The next value is reserved with as many after it as there are before the sequence ends or begins anew.
    let next = next_value(sequence, from)?;
    let ahead = AHEAD.max(cached(sequence)).min(values_after(sequence, next));
    let upto = SequencePosition { last: value_behind(sequence, next, ahead), is_called: true };
    let reserved = ahead + 1;
    store::put_sequence_state(&mut transaction, sequence.oid, sequence.state, upto)?;
    let commit = transaction.commit_in_doubt(level).await?.lsn;
    *cell.state.lock() = State { position: Some(from), reserved, increment: sequence.increment, commit };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sql_types::TypeId;

    fn sequence(increment: i64, min: i64, max: i64, cycle: bool) -> Sequence {
        Sequence {
            oid: 1,
            name: "s".into(),
            owner: 10,
            state: 2,
            from: 1,
            ty: TypeId::Int8,
            start: 1,
            increment,
            min,
            max,
            cache: 1,
            cycle,
            owned_by: None,
            identity: false,
        }
    }

    #[test]
    fn values_go_up_to_the_end_and_begin_anew_only_in_a_cycle() {
        let at = |last| SequencePosition { last, is_called: true };
        let plain = sequence(2, 1, 6, false);
        assert_eq!(next_value(&plain, plain.first_position()).unwrap(), 1);
        assert_eq!(next_value(&plain, at(3)).unwrap(), 5);
        let end = next_value(&plain, at(5)).unwrap_err();
        assert_eq!(end.code().as_str(), "2200H");
        assert_eq!(end.message(), "nextval: reached maximum value of sequence \"s\" (6)");
        assert_eq!(next_value(&sequence(2, 1, 6, true), at(5)).unwrap(), 1);
        assert_eq!(next_value(&sequence(-2, -5, 6, true), at(-4)).unwrap(), 6);
        assert_eq!(next_value(&sequence(1, 1, i64::MAX, true), at(i64::MAX)).unwrap(), 1);
    }

    #[test]
    fn as_many_values_are_taken_at_once_as_there_are_before_the_end() {
        for (increment, min, max, value, after) in [
            (1, 1, 6, 4, 2),
            (2, 1, 6, 4, 1),
            (2, 1, 6, 5, 0),
            (-7, -20, 6, 6, 3),
            (1, i64::MIN, i64::MAX, i64::MIN, u64::MAX),
            (i64::MIN, i64::MIN, i64::MAX, i64::MAX, 1),
            (i64::MAX, i64::MIN, i64::MAX, i64::MIN, 2),
        ] {
            let sequence = sequence(increment, min, max, true);
            assert_eq!(values_after(&sequence, value), after, "{increment} from {value}");
            let last = value_behind(&sequence, value, after);
            assert!((min..=max).contains(&last) && values_after(&sequence, last) == 0, "{last}");
        }
    }
}
