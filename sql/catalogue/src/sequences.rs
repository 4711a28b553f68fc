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
//! A state goes by one set of rules. ALTER SEQUENCE that changes them, or the position by RESTART, gives the
//! sequence another state number, and is undone with its transaction. The new state begins where the old one
//! truly stands: what is stored of that one is the end of what was reserved by the old rules, which says
//! nothing under new ones. So nobody else may take numbers until that transaction ends: it empties what is
//! reserved and holds the lock on the old state's row, which it removes. Whoever wants to reserve more then
//! finds the row locked or gone, waits for the end, and goes on by the definition that is there then.
//!
//! Locks: `refill` is held while the row changes, `state` for a moment at a time and never across an await.
//! Under `refill` no lock of a row is waited for: a search for deadlocks does not see who waits for `refill`.

use crate::codec;
use crate::model::{Catalogue, Sequence, SequencePosition};
use crate::store::{self, SequenceState};
use host::sync::Mutex;
use sql_interface::{Canceller, Result, SqlError};
use sqlstate::SqlState;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use storage::{Database, Isolation, LockWait, SyncLevel, Transaction};
use wal::Lsn;

/// How many values after the next one are reserved at once, at least.
const AHEAD: u64 = 32;

/// So many states of sequences are kept in memory besides one for each sequence that is there.
const GONE_MAX: usize = 64;

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
    /// How many values after `position` are reserved.
    reserved: u64,
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

/// Whether two definitions of a sequence give the same numbers from the same position.
pub fn have_same_rules(one: &Sequence, other: &Sequence) -> bool {
    Rules::of(one) == Rules { state: one.state, ..Rules::of(other) }
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

/// Where its present state is kept.
fn place(sequence: &Sequence) -> (u32, u32) {
    (sequence.oid, sequence.state)
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

fn require_inside(sequence: &Sequence, last: i64) -> Result<()> {
    let Sequence { min, max, name, .. } = sequence;
    if (*min..=*max).contains(&last) {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("setval: value {last} is out of bounds for sequence \"{name}\" ({min}..{max})"),
    ))
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
        if state.reserved == 0 {
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

    /// Locks the state's row and says where it stands. None: somebody else is changing the sequence, or it
    /// has another state by now. `session`: the transaction that wants to know.
    async fn hold(
        &self,
        transaction: &mut Transaction,
        session: &mut Transaction,
        sequence: &Sequence,
    ) -> Result<Option<SequencePosition>> {
        let stored = match store::lock_sequence_state(transaction, place(sequence)).await? {
            SequenceState::Busy => return Ok(None),
            SequenceState::At(position) => Some(position),
            SequenceState::Unwritten => {
                // Nobody has taken a number of it yet, unless it is one that was replaced and removed.
                if !is_present(session, sequence).await? {
                    return Ok(None);
                }
                None
            }
        };
        let known = self.state.lock().position;
        Ok(Some(known.or(stored).unwrap_or_else(|| sequence.first_position())))
    }

    /// Locks the state's row until `transaction` ends. Nobody else takes a number of it from here on, and
    /// none is reserved. Where it stands, and the end of the commit that this depends on.
    async fn close(
        &self,
        transaction: &mut Transaction,
        sequence: &Sequence,
        canceller: &Canceller,
    ) -> Result<(SequencePosition, Lsn)> {
        loop {
            transaction.make_room().await?;
            let only = self.refill.lock().await;
            let stored = match store::lock_sequence_state(transaction, place(sequence)).await? {
                SequenceState::Busy => {
                    drop(only);
                    let free = store::settle_sequence_state(transaction, sequence).await;
                    free.map_err(|error| canceller.explain(error))?;
                    continue;
                }
                SequenceState::Unwritten => None,
                SequenceState::At(position) => Some(position),
            };
            let mut state = self.state.lock();
            state.reserved = 0;
            let position = state.position.or(stored).unwrap_or_else(|| sequence.first_position());
            return Ok((position, state.commit));
        }
    }
}

/// Whether this is the state that the sequence has; false also if somebody is changing that.
async fn is_present(session: &mut Transaction, sequence: &Sequence) -> Result<bool> {
    match store::settled_sequence(session, sequence.oid, LockWait::NoWait).await {
        Err(storage::Error::LockNotAvailable { .. }) | Ok(None) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(Some(bytes)) => Ok(codec::decode_sequence(sequence.oid, &bytes)?.state == sequence.state),
    }
}

/// Waits until nobody else is changing a sequence, and gives the definition that it has then.
///
/// # Errors
///
/// 42704 if it is gone, what a wait for locks fails with, and what else storage fails with.
pub async fn settled(
    session: &mut Transaction,
    sequence: &Sequence,
    canceller: &Canceller,
) -> Result<Arc<Sequence>> {
    let free = store::settle_sequence_state(session, sequence).await;
    free.map_err(|error| canceller.explain(error))?;
    let wait = session.lock_wait();
    let newest = store::settled_sequence(session, sequence.oid, wait).await;
    let Some(bytes) = newest.map_err(|error| canceller.explain(error))? else {
        let message = format!("could not open relation with OID {}", sequence.oid);
        return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
    };
    Ok(Arc::new(codec::decode_sequence(sequence.oid, &bytes)?))
}

impl Sequences {
    fn cell(&self, sequence: &Sequence) -> Arc<Cell> {
        self.0.lock().entry(place(sequence)).or_default().clone()
    }

    /// The position in memory, if this server has given out numbers, and the end of the commit that it
    /// depends on.
    pub fn known(&self, sequence: &Sequence) -> Option<(SequencePosition, Lsn)> {
        let cell = self.0.lock().get(&place(sequence)).cloned()?;
        let State { position, commit, .. } = *cell.state.lock();
        Some((position?, commit))
    }

    /// nextval: the values that the session gets, of which the first is taken. None: the sequence is being
    /// changed, or was, and [`settled`] says what to ask for again. `session`: the session's transaction.
    ///
    /// # Errors
    ///
    /// 2200H after the last value, and what storage fails with.
    pub async fn next(
        &self,
        database: &Database,
        session: &mut Transaction,
        sequence: &Sequence,
        level: SyncLevel,
    ) -> Result<Option<Block>> {
        let cell = self.cell(sequence);
        loop {
            if let Some(taken) = cell.take(sequence)? {
                return Ok(Some(taken));
            }
            // Else the lookup under `refill` might have to wait for it.
            session.make_room().await?;
            let _only = cell.refill.lock().await;
            // Somebody else may have seen to it meanwhile.
            if let Some(taken) = cell.take(sequence)? {
                return Ok(Some(taken));
            }
            if !reserve(database, session, &cell, sequence, level).await? {
                return Ok(None);
            }
        }
    }

    /// setval: the end of the commit that it is. None as for [`Sequences::next`].
    ///
    /// # Errors
    ///
    /// 22003 for a position outside the bounds, and what storage fails with.
    pub async fn set(
        &self,
        database: &Database,
        session: &mut Transaction,
        sequence: &Sequence,
        position: SequencePosition,
        level: SyncLevel,
    ) -> Result<Option<Lsn>> {
        let cell = self.cell(sequence);
        session.make_room().await?;
        let _only = cell.refill.lock().await;
        let mut transaction = database.begin(Isolation::ReadCommitted);
        transaction.begin_statement().await?;
        if cell.hold(&mut transaction, session, sequence).await?.is_none() {
            return Ok(None);
        }
        require_inside(sequence, position.last)?;
        // From here on nobody takes a number of before.
        cell.state.lock().reserved = 0;
        store::put_sequence_state(&mut transaction, place(sequence), position)?;
        let commit = transaction.commit_in_doubt(level).await?.lsn;
        *cell.state.lock() = State { position: Some(position), reserved: 0, commit };
        Ok(Some(commit))
    }

    /// Gives a sequence another state, from now on for the session and for all when its transaction commits.
    /// `changed` has the new rules, and gets the state and what goes with it; the caller writes it.
    /// `restart`: its first value, else it goes on where `sequence` stands, if `admits` has nothing against
    /// that.
    ///
    /// Until then nobody else takes a number, and none moves where `sequence` stands.
    ///
    /// # Errors
    ///
    /// What `admits` says, what a wait for locks fails with, and what else storage fails with.
    pub async fn replace_state(
        &self,
        (database, level): (&Database, SyncLevel),
        (session, canceller): (&mut Transaction, &Canceller),
        (sequence, changed): (&Sequence, &mut Sequence),
        restart: Option<i64>,
        admits: impl FnOnce(i64, &Sequence) -> Result<()>,
    ) -> Result<()> {
        let cell = self.cell(sequence);
        let (stands, commit) = cell.close(session, sequence, canceller).await?;
        session.depend_on(commit);
        let position = restart.map_or(stands, |last| SequencePosition { last, is_called: false });
        admits(position.last, changed)?;
        store::delete_sequence_states(session, sequence.oid, Some(sequence.state)).await?;
        changed.state = database.allocate_number()?;
        changed.from = position.last;
        if position.is_called {
            session.depend_on(self.begin_state(database, changed, position, level).await?);
        }
        Ok(())
    }

    /// Writes where a new state stands, in a transaction of its own: the session's own nextval could not move
    /// a row that the session has locked. If the session rolls back, nothing names that row.
    async fn begin_state(
        &self,
        database: &Database,
        sequence: &Sequence,
        position: SequencePosition,
        level: SyncLevel,
    ) -> Result<Lsn> {
        let mut transaction = database.begin(Isolation::ReadCommitted);
        transaction.begin_statement().await?;
        store::lock_sequence_state(&mut transaction, place(sequence)).await?;
        store::put_sequence_state(&mut transaction, place(sequence), position)?;
        let commit = transaction.commit_in_doubt(level).await?.lsn;
        *self.cell(sequence).state.lock() = State { position: Some(position), reserved: 0, commit };
        Ok(commit)
    }

    /// Before a clean stop: stores where the sequences truly stand, so that the next start goes on there, and
    /// not behind what was reserved. Whoever takes numbers all the same reserves them anew.
    ///
    /// # Errors
    ///
    /// What storage fails with; those numbers are lost then, as in a crash.
    pub async fn store_positions(&self, database: &Database) -> Result<()> {
        let cells: Vec<_> = self.0.lock().iter().map(|(place, cell)| (*place, Arc::clone(cell))).collect();
        let known = |cell: &Cell| cell.state.lock().position.is_some();
        let cells: Vec<_> = cells.into_iter().filter(|(_, cell)| known(cell)).collect();
        if cells.is_empty() {
            return Ok(());
        }
        let mut transaction = database.begin(Isolation::ReadCommitted);
        transaction.begin_statement().await?;
        for (place, cell) in cells {
            transaction.make_room().await?;
            let _only = cell.refill.lock().await;
            // Of a state that is being changed, or was replaced, nobody will ask.
            let SequenceState::At(stored) = store::lock_sequence_state(&mut transaction, place).await? else {
                continue;
            };
            let position = {
                let mut state = cell.state.lock();
                state.reserved = 0;
                state.position
            };
            if let Some(position) = position.filter(|position| *position != stored) {
                store::put_sequence_state(&mut transaction, place, position)?;
            }
        }
        transaction.commit_in_doubt(SyncLevel::Local).await?;
        Ok(())
    }

    /// Forgets what is in memory of sequences and states that are not in the catalogue, if that is much. Of
    /// one that is only on its way in or out some numbers are lost by that, as in a crash.
    pub fn forget_gone(&self, catalogue: &Catalogue) {
        let mut cells = self.0.lock();
        if cells.len() > catalogue.sequences.len() + GONE_MAX {
            let sequences = &catalogue.sequences;
            // Later states are those of transactions that are under way.
            cells.retain(|(oid, state), _| sequences.get(oid).is_some_and(|known| known.state <= *state));
        }
    }
}

/// Moves the stored row on, and lets that many values be taken. False: the sequence is being changed, or was.
async fn reserve(
    database: &Database,
    session: &mut Transaction,
    cell: &Cell,
    sequence: &Sequence,
    level: SyncLevel,
) -> Result<bool> {
    let mut transaction = database.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await?;
    let Some(from) = cell.hold(&mut transaction, session, sequence).await? else { return Ok(false) };
    // The next value is reserved with as many after it as there are before the sequence ends or begins anew.
    let next = next_value(sequence, from)?;
    let ahead = AHEAD.max(cached(sequence)).min(values_after(sequence, next));
    let upto = SequencePosition { last: value_behind(sequence, next, ahead), is_called: true };
    let reserved = ahead + 1;
    store::put_sequence_state(&mut transaction, place(sequence), upto)?;
    let commit = transaction.commit_in_doubt(level).await?.lsn;
    *cell.state.lock() = State { position: Some(from), reserved, commit };
    Ok(true)
}

/// Removes the states that transactions left which made a sequence, took numbers of it and rolled back, and
/// those of sequences that are gone otherwise. Returns how many.
///
/// # Errors
///
/// What storage fails with.
pub async fn remove_forsaken(database: &Database) -> Result<usize> {
    let mut transaction = database.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await?;
    let owners: BTreeSet<u32> =
        store::sequence_states(&transaction).await?.into_iter().map(|(oid, _)| oid).collect();
    let mut removed = 0;
    for oid in owners {
        // Who makes or drops a sequence holds the lock on its definition until that is decided, and no number
        // comes twice: what is not there now will never be.
        match store::settled_sequence(&mut transaction, oid, LockWait::NoWait).await {
            Ok(Some(_)) | Err(storage::Error::LockNotAvailable { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(None) => removed += store::delete_sequence_states(&mut transaction, oid, None).await?,
        }
    }
    transaction.commit(SyncLevel::Off).await?;
    Ok(removed)
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
    fn of_many_sequences_that_are_gone_nothing_stays_in_memory() {
        let sequences = Sequences::default();
        let mut catalogue = Catalogue::default();
        let of = |oid, state| Sequence { oid, state, ..sequence(1, 1, 9, false) };
        catalogue.sequences.insert(1, Arc::new(of(1, 7)));
        for state in 5..9 {
            sequences.cell(&of(1, state));
        }
        sequences.forget_gone(&catalogue);
        assert_eq!(sequences.0.lock().len(), 4, "so few do no harm");
        for oid in 2..200 {
            sequences.cell(&of(oid, 300));
        }
        sequences.forget_gone(&catalogue);
        let mut left: Vec<_> = sequences.0.lock().keys().copied().collect();
        left.sort_unstable();
        assert_eq!(left, [(1, 7), (1, 8)], "the present one, and one of a transaction that is under way");
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
