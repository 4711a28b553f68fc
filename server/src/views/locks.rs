//! pg_locks and pg_blocking_pids(): who holds what, and who waits for whom.
//!
//! Locks on rows are in memory here, and there may be millions: those are shown that somebody waits for. Such a row is a
//! `tuple` whose page and tuple number are a hash of its key, so that the usual join of waiters with holders finds pairs.

use super::Asked;
use super::{Function, Returns, View, no_defaults, one};
use sql::{NodeCall, NodeRows, SettingActor};
use sql_types::{Array, Datum, TypeId};
use std::sync::Arc;
use storage::{LockInfo, LockTarget};

pub(super) static VIEWS: &[View] = &[View {
    name: "pg_locks",
    oid: 12_073,
    columns: &[
        ("locktype", TypeId::Text),
        ("database", TypeId::Oid),
        ("relation", TypeId::Oid),
        ("page", TypeId::Int4),
        ("tuple", TypeId::Int2),
        ("virtualxid", TypeId::Text),
        ("transactionid", TypeId::Xid),
        ("classid", TypeId::Oid),
        ("objid", TypeId::Oid),
        ("objsubid", TypeId::Int2),
        ("virtualtransaction", TypeId::Text),
        ("pid", TypeId::Int4),
        ("mode", TypeId::Text),
        ("granted", TypeId::Bool),
        ("fastpath", TypeId::Bool),
        ("waitstart", TypeId::Timestamptz),
    ],
    rows: locks,
}];

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: "pg_blocking_pids",
    arguments: &[("pid", TypeId::Int4)],
    required: 1,
    defaults: no_defaults,
    strict: true,
    returns: Returns::One(TypeId::Int4Array),
    call: |asked, _, arguments| blocking_pids(asked, arguments),
}];

/// `advisory` locks of two 32-bit numbers say so in objsubid; ours come as one of 64 bits.
const ONE_NUMBER: i16 = 1;

fn locks(asked: &Asked<'_>, _actor: SettingActor) -> sql::Result<NodeRows> {
    let Some(engine) = asked.node().engine() else { return Ok(Vec::new()) };
    let row = |lock: LockInfo| {
        let mut row = vec![Datum::Null; 16];
        let mut set = |at: usize, value: Datum| {
            if let Some(place) = row.get_mut(at) {
                *place = value;
            }
        };
        let (kind, database) = match lock.target {
            LockTarget::Row(tree, hash) => {
                let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
                set(2, Datum::Oid(engine.relation_of(tree)));
                set(3, Datum::Int4(i32::from_be_bytes([a, b, c, d])));
                set(4, Datum::Int2(i16::from_be_bytes([e, f])));
                ("tuple", tree.database)
            }
            LockTarget::Table(tree) => {
                set(2, Datum::Oid(engine.relation_of(tree)));
                ("relation", tree.database)
            }
            LockTarget::Number(database, number) => {
                let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
                set(7, Datum::Oid(u32::from_be_bytes([a, b, c, d])));
                set(8, Datum::Oid(u32::from_be_bytes([e, f, g, h])));
                set(9, Datum::Int2(ONE_NUMBER));
                ("advisory", database)
            }
        };
        set(0, Datum::text(kind));
        set(1, Datum::Oid(database));
        set(10, Datum::text(format!("{}/{}", lock.session, lock.transaction).as_str()));
        set(11, if lock.session == 0 { Datum::Null } else { Datum::Int4(lock.session) });
        set(12, Datum::text(lock.mode));
        set(13, Datum::Bool(lock.granted));
        set(14, Datum::Bool(false));
        row
    };
    Ok(engine.database().locks().into_iter().map(row).collect())
}

fn blocking_pids(asked: &Asked<'_>, arguments: &[Datum]) -> NodeCall {
    let pid = arguments.first().and_then(Datum::as_i64).and_then(|pid| i32::try_from(pid).ok());
    let blocking = match (pid, asked.node().engine()) {
        (Some(pid), Some(engine)) => engine.database().blocking_sessions(pid),
        _ => Vec::new(),
    };
    let values = blocking.into_iter().map(Datum::Int4).collect();
    one(Datum::Array(Arc::new(Array::of(TypeId::Int4, values))))
}
