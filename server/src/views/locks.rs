//! pg_locks and pg_blocking_pids(): who holds what, and who waits for whom.
//!
//! Locks on rows are in memory here, and there may be millions: those are shown that somebody waits for. Such
//! a row is a `tuple` whose page and tuple number are a hash of its key, so that the usual join of waiters
//! with holders finds pairs.

use super::{Asked, Function, Returns, View, no_defaults, one};
use sql_interface::NodeCall;
use sql_session::SqlEngine;
use sql_types::{Array, Datum, TypeId};
use std::sync::Arc;
use storage::{LockInfo, LockTarget};

pub(super) static VIEWS: &[View] = &[view! {
    "pg_locks", 12_073, "Locks that are held, and who waits for them; a row a lock.",
    rows |asked, _actor| {
        let locks = |engine: &SqlEngine| {
            let shown = |lock: LockInfo| (Locked::of(engine, &lock.target), lock);
            engine.database().locks().into_iter().map(shown).collect::<Vec<_>>()
        };
        asked.engine.map(locks).unwrap_or_default()
    },
    each |(locked, lock)| [] {
        "locktype": Text = Datum::text(locked.kind),
        "database": Oid = Datum::Oid(locked.database),
        "relation": Oid = locked.relation,
        "page": Int4 = locked.page,
        "tuple": Int2 = locked.tuple,
        "virtualxid": Text = Datum::Null,
        "transactionid": Xid = Datum::Null,
        "classid": Oid = Datum::Null,
        "objid": Oid = Datum::Null,
        "objsubid": Int2 = Datum::Null,
        "virtualtransaction": Text = Datum::text(format!("{}/{}", lock.session, lock.transaction).as_str()),
        "pid": Int4 = if lock.session == 0 { Datum::Null } else { Datum::Int4(lock.session) },
        "mode": Text = Datum::text(lock.mode),
        "granted": Bool = Datum::Bool(lock.granted),
        "fastpath": Bool = Datum::Bool(false),
        "waitstart": Timestamptz = Datum::Null,
    }
}];

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: "pg_blocking_pids",
    about: "The sessions that keep a session from the lock that it waits for.",
    arguments: &[("pid", TypeId::Int4)],
    required: 1,
    defaults: no_defaults,
    strict: true,
    returns: Returns::One(TypeId::Int4Array),
    call: |asked, _, arguments| blocking_pids(asked, arguments),
}];

/// What is locked, as the columns of pg_locks say it.
#[derive(Default)]
struct Locked {
    kind: &'static str,
    database: u32,
    relation: Datum,
    page: Datum,
    tuple: Datum,
}

impl Locked {
    fn of(engine: &SqlEngine, target: &LockTarget) -> Self {
        match *target {
            LockTarget::Row(tree, hash) => {
                let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
                Self {
                    kind: "tuple",
                    database: tree.database,
                    relation: Datum::Oid(engine.relation_of(tree)),
                    page: Datum::Int4(i32::from_be_bytes([a, b, c, d])),
                    tuple: Datum::Int2(i16::from_be_bytes([e, f])),
                }
            }
            LockTarget::Table(tree) => Self {
                kind: "relation",
                database: tree.database,
                relation: Datum::Oid(engine.relation_of(tree)),
                ..Self::default()
            },
        }
    }
}

fn blocking_pids(asked: &Asked<'_>, arguments: &[Datum]) -> NodeCall {
    let pid = arguments.first().and_then(Datum::as_i64).and_then(|pid| i32::try_from(pid).ok());
    let blocking = match (pid, asked.engine) {
        (Some(pid), Some(engine)) => engine.database().blocking_sessions(pid),
        _ => Vec::new(),
    };
    let values = blocking.into_iter().map(Datum::Int4).collect();
    one(Datum::Array(Arc::new(Array::of(TypeId::Int4, values))))
}
