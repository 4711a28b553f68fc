//! Advisory locks: the functions that take them and give them back.

use super::{Asked, Function, Returns, no_defaults, one};
use protocol::{Report, Severity, SqlState};
use sql_interface::{AdvisoryKey, AdvisoryRequest, NodeCall};
use sql_types::{Datum, TypeId};

/// What a lock is on: a bigint, or two integers.
fn key(arguments: &[Datum]) -> AdvisoryKey {
    let number = |at: usize| arguments.get(at).and_then(Datum::as_i64).unwrap_or(0);
    let half = |number: i64| u32::try_from(number & 0xffff_ffff).unwrap_or(0);
    if arguments.len() > 1 {
        AdvisoryKey { class: half(number(0)), object: half(number(1)), pair: true }
    } else {
        AdvisoryKey { class: half(number(0) >> 32), object: half(number(0)), pair: false }
    }
}

fn unlock(asked: &Asked<'_>, arguments: &[Datum], shared: bool) -> NodeCall {
    let session = asked.handle.key.pid;
    let held = asked.engine.is_some_and(|engine| engine.advisory().unlock(session, key(arguments), shared));
    if !held {
        let what = format!("you don't own a lock of type {}", mode(shared));
        asked.handle.warn(Report::new(Severity::Warning, SqlState::WARNING, what));
    }
    one(Datum::Bool(held))
}

/// The lock's mode as pg_locks names it.
pub(crate) const fn mode(shared: bool) -> &'static str {
    if shared { "ShareLock" } else { "ExclusiveLock" }
}

const NONE: &[(&str, TypeId)] = &[];
const ONE: &[(&str, TypeId)] = &[("key", TypeId::Int8)];
const TWO: &[(&str, TypeId)] = &[("key1", TypeId::Int4), ("key2", TypeId::Int4)];

macro_rules! function {
    ($name:literal, $about:literal, $arguments:expr, $returns:ident, $call:expr) => {
        Function {
            name: $name,
            about: $about,
            arguments: $arguments,
            required: $arguments.len(),
            defaults: no_defaults,
            strict: true,
            returns: Returns::One(TypeId::$returns),
            call: $call,
        }
    };
}

macro_rules! take {
    ($name:literal, $about:literal, $arguments:expr, $returns:ident, $shared:literal, $waits:literal, $transaction:literal) => {
        function!($name, $about, $arguments, $returns, |_, _, arguments| {
            let (key, shared, waits) = (key(arguments), $shared, $waits);
            NodeCall::Advisory(AdvisoryRequest { key, shared, waits, transaction: $transaction })
        })
    };
}

macro_rules! of_keys {
    ($keys:expr) => {
        &[
            take!(
                "pg_advisory_lock",
                "Takes an advisory lock for the session, waiting for it.",
                $keys,
                Void,
                false,
                true,
                false
            ),
            take!(
                "pg_advisory_lock_shared",
                "Takes a shared advisory lock for the session, waiting for it.",
                $keys,
                Void,
                true,
                true,
                false
            ),
            take!(
                "pg_try_advisory_lock",
                "Takes an advisory lock for the session if it is free.",
                $keys,
                Bool,
                false,
                false,
                false
            ),
            take!(
                "pg_try_advisory_lock_shared",
                "Takes a shared advisory lock for the session if it is free.",
                $keys,
                Bool,
                true,
                false,
                false
            ),
            take!(
                "pg_advisory_xact_lock",
                "Takes an advisory lock for the transaction, waiting for it.",
                $keys,
                Void,
                false,
                true,
                true
            ),
            take!(
                "pg_advisory_xact_lock_shared",
                "Takes a shared advisory lock for the transaction, waiting for it.",
                $keys,
                Void,
                true,
                true,
                true
            ),
            take!(
                "pg_try_advisory_xact_lock",
                "Takes an advisory lock for the transaction if it is free.",
                $keys,
                Bool,
                false,
                false,
                true
            ),
            take!(
                "pg_try_advisory_xact_lock_shared",
                "Takes a shared advisory lock for the transaction if it is free.",
                $keys,
                Bool,
                true,
                false,
                true
            ),
            function!(
                "pg_advisory_unlock",
                "Gives back an advisory lock of the session; false if it has none.",
                $keys,
                Bool,
                |asked, _, arguments| unlock(asked, arguments, false)
            ),
            function!(
                "pg_advisory_unlock_shared",
                "Gives back a shared advisory lock of the session; false if it has none.",
                $keys,
                Bool,
                |asked, _, arguments| unlock(asked, arguments, true)
            ),
        ]
    };
}

pub(super) static OF_ONE: &[Function] = of_keys!(ONE);
pub(super) static OF_TWO: &[Function] = of_keys!(TWO);

pub(super) static FUNCTIONS: &[Function] = &[function!(
    "pg_advisory_unlock_all",
    "Gives back all advisory locks of the session.",
    NONE,
    Void,
    |asked, _, _| {
        if let Some(engine) = asked.engine {
            engine.advisory().unlock_all(asked.handle.key.pid);
        }
        one(Datum::text(""))
    }
)];
