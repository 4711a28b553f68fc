//! nextval and setval, and what stands in sequences.

use super::{Cx, Row};
use sql_catalogue::SequencePosition;
use sql_catalogue::rights::{Object, Privileges};
use sql_catalogue::sequences::{self, Block};
use sql_catalogue::{Sequence, store};
use sql_interface::{Canceller, Result, SqlError};
use sql_language::plan::SequenceFunction;
use sql_types::Datum;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::SyncLevel;

/// The sequence that a regclass names, which the session may change. What a plan names was asked when it was
/// made (`any_of` is empty then).
fn find(cx: &Cx<'_>, oid: u32, word: &str, any_of: Privileges) -> Result<Arc<Sequence>> {
    let Some(sequence) = cx.catalogue.sequences.get(&oid).cloned() else {
        let name = cx.facts.relation_name(oid).unwrap_or_else(|| oid.to_string());
        let message = format!("\"{name}\" is not a sequence");
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    };
    let object = Object::Relation(oid);
    if !any_of.is_empty() && cx.catalogue.privileges(cx.actor.role, &object, any_of).is_empty() {
        let message = format!("permission denied for sequence {}", sequence.name);
        return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
    }
    sql_interface::refuse_if_fenced(cx.database)?;
    if cx.read_only {
        let message = format!("cannot execute {word}() in a read-only transaction");
        return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
    }
    Ok(sequence)
}

/// What is given up in the middle leaves a gap at most.
async fn or_cancelled<T>(canceller: &Canceller, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        done = work => done,
        reason = canceller.cancelled() => Err(reason.error()),
    }
}

/// The session's own values, with the next one taken; None if it has none left.
fn own_numbers(cx: &Cx<'_>, sequence: &Sequence) -> Option<Block> {
    // Most have none.
    if sequence.cache > 1 { cx.facts.own_numbers(sequence.oid)?.next(sequence) } else { None }
}

/// Takes values, by the newest definition if the one that was planned with is another one since.
async fn next(cx: &mut Cx<'_>, mut sequence: Arc<Sequence>, level: SyncLevel) -> Result<Block> {
    loop {
        let next = cx.sequences.next(cx.database, cx.transaction, &sequence, level);
        if let Some(block) = or_cancelled(cx.canceller, next).await? {
            return Ok(block);
        }
        sequence = sequences::settled(cx.transaction, &sequence, cx.canceller).await?;
    }
}

/// Calls one. `named`: the plan says which sequence it is.
pub(super) async fn call(
    cx: &mut Cx<'_>,
    function: SequenceFunction,
    values: &[Datum],
    named: bool,
) -> Result<Datum> {
    if function == SequenceFunction::Last {
        return Ok(Datum::Int8(cx.facts.current_value(None)?));
    }
    let Some(Datum::Oid(oid)) = values.first() else { return Ok(Datum::Null) };
    if values.iter().any(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let unasked = |rights: Privileges| if named { Privileges::NONE } else { rights };
    let level = cx.environment.quick().synchronous_commit;
    match function {
        SequenceFunction::Next => {
            let sequence = find(cx, *oid, "nextval", unasked(Privileges::USAGE | Privileges::UPDATE))?;
            let block = match own_numbers(cx, &sequence) {
                Some(block) => block,
                None => next(cx, Arc::clone(&sequence), level).await?,
            };
            if sequence.cache > 1 {
                cx.facts.keep_numbers(*oid, Some(block).filter(|block| !block.is_over()));
            }
            let (value, commit) = block.taken();
            if !host::planted!("a number is told before what reserves it is durable") {
                cx.transaction.depend_on(commit);
            }
            cx.facts.note_number(*oid, value, true, commit);
            Ok(Datum::Int8(value))
        }
        SequenceFunction::Set => {
            let mut sequence = find(cx, *oid, "setval", unasked(Privileges::UPDATE))?;
            let last = values.get(1).and_then(Datum::as_i64).unwrap_or_default();
            let is_called = values.get(2).and_then(Datum::as_bool).unwrap_or(true);
            let position = SequencePosition { last, is_called };
            let commit = loop {
                let set = cx.sequences.set(cx.database, cx.transaction, &sequence, position, level);
                if let Some(commit) = or_cancelled(cx.canceller, set).await? {
                    break commit;
                }
                sequence = sequences::settled(cx.transaction, &sequence, cx.canceller).await?;
            };
            cx.transaction.depend_on(commit);
            cx.facts.keep_numbers(*oid, None);
            if is_called {
                cx.facts.note_number(*oid, last, false, commit);
            }
            Ok(Datum::Int8(last))
        }
        SequenceFunction::Current | SequenceFunction::Last => {
            find(cx, *oid, "currval", unasked(Privileges::USAGE | Privileges::SELECT))?;
            Ok(Datum::Int8(cx.facts.current_value(Some(*oid))?))
        }
    }
}

/// Where a sequence stands: by what this server has given out, else by what the statement sees.
pub(super) async fn position(cx: &Cx<'_>, sequence: &Sequence) -> Result<SequencePosition> {
    if let Some((known, commit)) = cx.sequences.known(sequence) {
        cx.transaction.depend_on(commit);
        return Ok(known);
    }
    let stored = store::sequence_state(cx.transaction, sequence).await?;
    Ok(stored.unwrap_or_else(|| sequence.first_position()))
}

/// A sequence as a table of one row.
pub(super) async fn as_table(cx: &Cx<'_>, oid: u32) -> Result<Vec<Row>> {
    let Some(sequence) = cx.catalogue.sequences.get(&oid) else { return Ok(Vec::new()) };
    let SequencePosition { last, is_called } = position(cx, sequence).await?;
    Ok(vec![vec![Datum::Int8(last), Datum::Int8(0), Datum::Bool(is_called)]])
}
