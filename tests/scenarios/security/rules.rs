//! pg_hba.conf, and what replication connections may do.

use super::scram::{Tampering, log_in};
use super::{Case, Target, other, same};
use scenarios::raw::Raw;

fn over_tcp(target: &Target, user: &str) -> String {
    let mut raw = target.tcp();
    raw.startup(&[("user", user), ("database", "postgres")]);
    raw.outcome()
}

fn over_unix(target: &Target, parameters: &[(&str, &str)]) -> String {
    let mut raw = target.unix();
    raw.startup(parameters);
    raw.outcome()
}

fn walsender(target: &Target, user: &str) -> Result<Raw, String> {
    let mut raw = target.unix();
    raw.startup(&[("user", user), ("replication", "true")]);
    match raw.outcome() {
        ready if ready == "ready" => Ok(raw),
        refused => Err(refused),
    }
}

pub const CASES: &[Case] = &[
    same("the first rule that fits counts", |target| over_tcp(target, "shut")),
    same("a name from a file", |target| over_tcp(target, "listed")),
    same("a machine's name", |target| over_tcp(target, "named")),
    same("another address", |target| over_tcp(target, "far")),
    same("a member of a role", |target| over_tcp(target, "selfmember")),
    same("no member of a role", |target| over_tcp(target, "peered")),
    same("no rule for a role that does not exist", |target| over_tcp(target, "nobody")),
    same("a role that does not exist and is trusted", |target| {
        over_unix(target, &[("user", "nobody"), ("database", "postgres")])
    }),
    same("another operating system's user", |target| {
        over_unix(target, &[("user", "peered"), ("database", "postgres")])
    }),
    same("an operating system's user by a map", |target| {
        over_unix(target, &[("user", "peermap"), ("database", "postgres")])
    }),
    same("all does not stand for replication", |target| {
        let mut raw = target.tcp();
        raw.startup(&[("user", "listed"), ("replication", "true")]);
        raw.outcome()
    }),
    same("replication is no database's name", |target| {
        over_unix(target, &[("user", "app"), ("database", "replication")])
    }),
    same("replication that a rule rejects", |target| {
        over_unix(target, &[("user", "listed"), ("replication", "true")])
    }),
    same("replication by a password", |target| {
        let mut raw = target.tcp();
        raw.startup(&[("user", "rep"), ("replication", "true")]);
        super::scram::prove(&mut raw, "right", protocol::scram::Channel::Unbound, Tampering::NONE)
    }),
    same("replication without the attribute", |target| {
        over_unix(target, &[("user", "app"), ("replication", "true")])
    }),
    same("replication in a database without the attribute", |target| {
        over_unix(target, &[("user", "app"), ("database", "postgres"), ("replication", "database")])
    }),
    same("a kind of replication that there is not", |target| {
        over_unix(target, &[("user", "rep"), ("replication", "banana")])
    }),
    same("SQL in a connection for physical replication", |target| target.replication("rep", "SELECT 1")),
    same("the extended protocol in a connection for physical replication", |target| {
        match walsender(target, "rep") {
            Ok(mut raw) => {
                raw.send(b'P', b"\0SELECT 1\0\0\0");
                raw.send(b'S', b"");
                raw.outcome()
            }
            Err(refused) => refused,
        }
    }),
    same("a slot dropped that does not exist", |target| {
        target.replication("rep", "DROP_REPLICATION_SLOT nosuch")
    }),
    other(
        "log of a position that is not there yet",
        |target| target.replication("rep", "START_REPLICATION PHYSICAL FFFF/0"),
        "XX000",
        "PostgreSQL begins to copy first",
    ),
    same("log of a timeline that there is not", |target| {
        target.replication("rep", "START_REPLICATION PHYSICAL 0/1000000 TIMELINE 99")
    }),
    same("log from a slot that does not exist", |target| {
        target.replication("rep", "START_REPLICATION SLOT nosuch PHYSICAL 0/1000000")
    }),
    same("the history of a timeline that there is not", |target| {
        target.replication("rep", "TIMELINE_HISTORY 99")
    }),
    same("a backup by a role with REPLICATION", |target| {
        target.replication("rep", "BASE_BACKUP (NOSUCH 'x')")
    }),
    same("a database's session of a role with REPLICATION alone", |target| {
        target.sql("rep", "SELECT * FROM pg_authid")
    }),
    same("no place for a session that may have none", |target| {
        log_in(&mut target.tcp(), "few", "right", Tampering::NONE)
    }),
];
