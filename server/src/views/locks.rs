//! pg_locks and pg_blocking_pids(): who holds what, and who waits for whom.
//!
//! Locks on rows are in memory here, and there may be millions: those are shown that somebody waits for. Such
//! a row is a `tuple` whose page and tuple number are a hash of its key, so that the usual join of waiters
//! with holders finds pairs.

use super::{Asked, Function, Returns, View, no_defaults, one, time};
use host::Timestamp;
use sql_interface::NodeCall;
use sql_session::{AdvisoryLock, SqlEngine};
use sql_types::{Array, Datum, TypeId};
use std::sync::Arc;
use storage::{LockInfo, LockTarget};

pub(super) static VIEWS: &[View] = &[view! {
    "pg_locks", 12_073, "Locks that are held, and who waits for them; a row a lock. `virtualxid` and `transactionid` are always NULL.",
    rows |asked, _actor| {
        let locks = |engine: &SqlEngine| {
            let stored = engine.database().locks().into_iter().map(|lock| Locked::of(engine, lock));
            stored.chain(engine.advisory().list().into_iter().map(Locked::advisory)).collect::<Vec<_>>()
        };
        let since = |mut locked: Locked| {
            let waiter = asked.sessions.get(locked.session).filter(|_| !locked.granted);
            locked.wait_start = waiter.and_then(|session| session.wait_start());
            locked
        };
        asked.engine.map(locks).unwrap_or_default().into_iter().map(since)
    },
    each |locked| [] {
        "locktype": Text = Datum::text(locked.kind),
        "database": Oid = Datum::Oid(locked.database),
        "relation": Oid = locked.relation,
        "page": Int4 = locked.page,
        "tuple": Int2 = locked.tuple,
        "virtualxid": Text = Datum::Null,
        "transactionid": Xid = Datum::Null,
        "classid": Oid = locked.class,
        "objid": Oid = locked.object,
        "objsubid": Int2 = locked.part,
        "virtualtransaction": Text = Datum::from(format!("{}/{}", locked.session, locked.transaction)),
        "pid": Int4 = if locked.session == 0 { Datum::Null } else { Datum::Int4(locked.session) },
        "mode": Text = Datum::text(locked.mode),
        "granted": Bool = Datum::Bool(locked.granted),
        "fastpath": Bool = Datum::Bool(false),
        "waitstart": Timestamptz = time(locked.wait_start),
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

/// What is locked and by whom, as the columns of pg_locks say it.
#[derive(Default)]
struct Locked {
    kind: &'static str,
    database: u32,
    relation: Datum,
    page: Datum,
    tuple: Datum,
    class: Datum,
    object: Datum,
    part: Datum,
    session: i32,
    transaction: u64,
    mode: &'static str,
    granted: bool,
    /// Since when it is waited for.
    wait_start: Option<Timestamp>,
}

impl Locked {
    fn advisory(lock: AdvisoryLock) -> Self {
        Self {
            kind: "advisory",
            // All sessions are of the one database that they can connect to.
            database: sql_catalogue::POSTGRES_DATABASE,
            class: Datum::Oid(lock.key.class),
            object: Datum::Oid(lock.key.object),
            part: Datum::Int2(if lock.key.pair { 2 } else { 1 }),
            session: lock.session,
            mode: super::advisory::mode(lock.shared),
            granted: lock.granted,
            ..Self::default()
        }
    }

    fn of(engine: &SqlEngine, lock: LockInfo) -> Self {
        let LockInfo { session, transaction, mode, granted, .. } = lock;
        Self { session, transaction, mode, granted, ..Self::target(engine, &lock.target) }
    }

    fn target(engine: &SqlEngine, target: &LockTarget) -> Self {
        match *target {
            LockTarget::Row(tree, hash) => {
                let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
                Self {
                    kind: "tuple",
                    database: tree.database,
                    relation: Datum::Oid(engine.relation_of(tree)),
                    page: Datum::Int4(i32::from_be_bytes([a, b, c, d])),
                    tuple: Datum::Int2(i16::from_be_bytes([e, f])),
                    ..Self::default()
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
        (Some(pid), Some(engine)) => {
            let mut blocking = engine.database().blocking_sessions(pid);
            blocking.extend(engine.advisory().blocking(pid));
            blocking
        }
        _ => Vec::new(),
    };
    let values = blocking.into_iter().map(Datum::Int4).collect();
    one(Datum::Array(Arc::new(Array::of(TypeId::Int4, values))))
}
