//! Sequences at work: numbers that are given out once, whatever becomes of the transactions that took them.
//!
//! The state of a sequence is a row of the catalogue's tree, under its OID and its state number: the last
//! value that may have been given out. A transaction of its own moves it [`AHEAD`] values on before the first
//! of them leaves; the others are counted in memory. So a number costs no log, none comes twice after a crash
//! or a promotion (up to `AHEAD` are lost then, as in PostgreSQL), and none is given back by a rollback.
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

/// How many values after the next one are reserved at once.
const AHEAD: u32 = 32;

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
    reserved: u32,
    increment: i64,
    /// The end of the commit that reserved them.
    commit: Lsn,
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

impl Cell {
    /// A reserved value, with what it depends on.
    fn take(&self, sequence: &Sequence) -> Result<Option<(i64, Lsn)>> {
        let mut state = self.state.lock();
        let Some(position) = state.position else { return Ok(None) };
        // What was reserved at another distance ends elsewhere.
        if state.reserved == 0 || state.increment != sequence.increment {
            return Ok(None);
        }
        let value = next_value(sequence, position)?;
        state.position = Some(SequencePosition { last: value, is_called: true });
        state.reserved -= 1;
        Ok(Some((value, state.commit)))
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

    /// nextval: the value, and the end of the commit that it depends on.
    ///
    /// # Errors
    ///
    /// 2200H after the last value, and what storage fails with.
    pub async fn next(
        &self,
        database: &Database,
        sequence: &Sequence,
        level: SyncLevel,
    ) -> Result<(i64, Lsn)> {
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
    let mut reserved = 1;
    let mut upto = SequencePosition { last: next_value(sequence, from)?, is_called: true };
    while reserved <= AHEAD {
        match next_value(sequence, upto) {
            Ok(value) if (value > upto.last) == (sequence.increment > 0) => upto.last = value,
            _ => break,
        }
        reserved += 1;
    }
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
}
