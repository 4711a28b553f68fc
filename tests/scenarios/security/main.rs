//! Attempts on a server, each with PostgreSQL's answer beside ours.
//!
//! A case is a name and a function that tries something on one server and says what came of it: `ready`,
//! `closed`, or an SQLSTATE and a message. All cases run on a Plimsoll and on a PostgreSQL 15 that are set up
//! alike; the outcomes must be equal, of errors the SQLSTATE. Where ours may be another one, the case says
//! which and why.
//!
//! To add a case, add a row to one of the tables: `login.rs` (passwords and SCRAM), `encryption.rs` (TLS,
//! channels, certificates, what is smuggled), `rules.rs` (pg_hba.conf, replication) or `reach.rs` (files,
//! settings, secrets).

mod encryption;
mod login;
mod reach;
mod rules;
mod scram;

use scenarios::pki::Pki;
use scenarios::raw::{Handshake, Raw};
use scenarios::{Node, PostgreSql};
use std::fs;
use std::path::PathBuf;

/// One server under attack.
pub struct Target {
    /// Its TCP port.
    pub port: u16,
    /// The folder of its Unix socket.
    pub socket: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Its certificates.
    pub pki: &'static Pki,
}

/// What is tried; `differs` is what ours may come to where it is not PostgreSQL's, with the reason.
pub struct Case {
    /// What is tried.
    pub name: &'static str,
    /// Does it, and tells what came of it.
    pub attempt: fn(&Target) -> String,
    /// Ours and why, where it is not PostgreSQL's.
    pub differs: Option<(&'static str, &'static str)>,
}

/// A case whose outcome is PostgreSQL's.
pub const fn same(name: &'static str, attempt: fn(&Target) -> String) -> Case {
    Case { name, attempt, differs: None }
}

/// A case whose outcome may be another one than PostgreSQL's.
pub const fn other(
    name: &'static str,
    attempt: fn(&Target) -> String,
    ours: &'static str,
    why: &'static str,
) -> Case {
    Case { name, attempt, differs: Some((ours, why)) }
}

impl Target {
    /// A connection in the clear.
    pub fn tcp(&self) -> Raw {
        Raw::tcp(self.port)
    }
    /// One over the Unix socket.
    pub fn unix(&self) -> Raw {
        Raw::unix(&self.socket)
    }
    /// One under TLS, without a certificate.
    pub fn tls(&self) -> Raw {
        Raw::tls(self.port, Handshake::default()).expect("a handshake")
    }
    /// One under TLS that shows a certificate; `tls` if that is refused, as soon as the server says so.
    pub fn with_certificate(&self, name: &str, user: &str) -> Result<Raw, String> {
        let handshake = Handshake { certificate: Some((self.pki, name)), old: false };
        let mut raw = Raw::tls(self.port, handshake).map_err(|_| "tls".to_owned())?;
        raw.startup(&[("user", user), ("database", "postgres")]);
        Ok(raw)
    }
    /// A session of the superuser, or of another role that the socket trusts.
    pub fn session(&self, user: &str) -> Raw {
        let mut raw = self.unix();
        raw.startup(&[("user", user), ("database", "postgres")]);
        assert_eq!(raw.outcome(), "ready", "{user}");
        raw
    }
    /// What a statement of a role comes to.
    pub fn sql(&self, user: &str, sql: &str) -> String {
        self.session(user).query(sql)
    }
    /// What a command of a replication connection of a role comes to.
    pub fn replication(&self, user: &str, command: &str) -> String {
        let mut raw = self.unix();
        raw.startup(&[("user", user), ("replication", "true")]);
        match raw.outcome() {
            ready if ready == "ready" => raw.query(command),
            refused => refused,
        }
    }
}

/// Who there is on both.
const ROLES: &str = "
    CREATE ROLE app LOGIN PASSWORD 'right';
    CREATE ROLE bob LOGIN PASSWORD 'right';
    CREATE ROLE late LOGIN PASSWORD 'right' VALID UNTIL '2001-01-01';
    CREATE ROLE bare LOGIN;
    CREATE ROLE nologin PASSWORD 'right';
    CREATE ROLE rep LOGIN REPLICATION PASSWORD 'right';
    CREATE ROLE few LOGIN CONNECTION LIMIT 0;
    CREATE ROLE certified LOGIN PASSWORD 'right';
    CREATE ROLE \"all\" LOGIN PASSWORD 'right';
    CREATE ROLE plain LOGIN PASSWORD 'right';
    CREATE ROLE digest LOGIN PASSWORD 'right';
    CREATE ROLE safe LOGIN PASSWORD 'right';
    CREATE ROLE clear LOGIN PASSWORD 'right';
    CREATE ROLE listed LOGIN;
    CREATE ROLE named LOGIN;
    CREATE ROLE shut LOGIN;
    CREATE ROLE far LOGIN;
    CREATE ROLE selfmember LOGIN;
    CREATE ROLE ca LOGIN PASSWORD 'right';
    CREATE ROLE full_cert LOGIN PASSWORD 'right';
    CREATE ROLE dn LOGIN;
    CREATE ROLE mapped LOGIN;
    CREATE ROLE peered LOGIN;
    CREATE ROLE peermap LOGIN;
";

/// The rules of both. A role is named for the method that it comes in by.
const HBA: &str = "\
local all peered peer
local all peermap peer map=os
local replication listed reject
local all,replication all trust
host all shut 127.0.0.0/8 reject
host all shut 127.0.0.1/32 trust
host all @names 127.0.0.1/32 trust
host all named localhost trust
host all far 127.0.0.2/32 trust
host all \"all\" 127.0.0.1/32 password
host all plain 127.0.0.1/32 password
host all digest 127.0.0.1/32 md5
hostssl all safe 127.0.0.1/32 scram-sha-256
hostnossl all clear 127.0.0.1/32 scram-sha-256
host all +selfmember 127.0.0.1/32 trust
hostssl all ca 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostssl all app,bob,late,bare,nologin 127.0.0.1 255.255.255.255 scram-sha-256
hostssl all full_cert 127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostssl all dn 127.0.0.1/32 cert map=dn clientname=DN
hostssl all mapped 127.0.0.1/32 cert map=cn
hostssl all certified 127.0.0.1/32 cert
hostnossl all app,bob,late,bare,nologin,unknown 127.0.0.1/32 scram-sha-256
hostssl all unknown 127.0.0.1/32 scram-sha-256
host replication rep 127.0.0.1/32 scram-sha-256
";

const MAPS: &str = "\
os root peermap
cn /^(ap)p$ mapped
dn \"CN=app,O=Ships\" dn
";

const SETTINGS: [(&str, &str); 5] = [
    ("ssl", "on"),
    ("ssl_ca_file", "root.crt"),
    ("ssl_crl_file", "root.crl"),
    ("listen_addresses", "127.0.0.1"),
    ("log_connections", "on"),
];

const FILES: [(&str, &str); 4] = [
    ("server.crt", "server.crt"),
    ("server.key", "server.key"),
    ("root.crt", "root.crt"),
    ("root.crl", "root.crl"),
];

#[test]
fn every_attempt_comes_to_what_postgresql_makes_of_it() {
    let pki: &'static Pki = Box::leak(Box::new(Pki::make()));
    let (node, postgres) = (Node::builder().init(), PostgreSql::start(&[]));
    for (name, value) in SETTINGS {
        node.set(name, value);
    }
    postgres.configure(&SETTINGS);
    let texts = [("pg_hba.conf", HBA), ("pg_ident.conf", MAPS), ("names", "listed\n")];
    for (file, text) in texts {
        fs::write(node.data().join(file), text).expect("written");
        postgres.place(file, text.as_bytes());
    }
    for (file, from) in FILES {
        fs::copy(pki.path(from), node.data().join(file)).expect("copied");
        postgres.place(file, &fs::read(pki.path(from)).expect("there"));
    }
    postgres.stop("fast");
    postgres.start_again();
    node.start();
    for statement in ROLES.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        node.sql(statement);
        postgres.sql(statement);
    }
    let ours =
        Target { port: node.port(), socket: node.socket(), data: node.data(), log: node.log_path(), pki };
    let theirs = Target {
        port: postgres.port(),
        socket: postgres.folder().join(format!(".s.PGSQL.{}", postgres.port())),
        data: postgres.data(),
        log: postgres.folder().join("log"),
        pki,
    };
    let tables = [login::CASES, encryption::CASES, rules::CASES, reach::CASES];
    let cases: Vec<&Case> = tables.iter().flat_map(|table| table.iter()).collect();
    let only = std::env::var("PLIMSOLL_CASE").ok();
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| only.as_ref().is_none_or(|only| case.name.contains(only))) {
        let (here, there) = ((case.attempt)(&ours), (case.attempt)(&theirs));
        let verdict = match case.differs {
            None => code(&here) == code(&there),
            Some((allowed, _)) => code(&here) == allowed || code(&here) == code(&there),
        };
        let why = case.differs.filter(|_| code(&here) != code(&there)).map_or("", |(_, why)| why);
        println!("{} {}: {here} | {there} {why}", if verdict { " " } else { "!" }, case.name);
        if !verdict {
            wrong.push(format!("{}: {here}, and PostgreSQL {there}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(only.is_some() || cases.len() >= 80, "only {} cases", cases.len());
    // After all of it both serve.
    assert_eq!((node.sql("SELECT 1"), postgres.sql("SELECT 1")), ("1".to_owned(), "1".to_owned()));
}

/// The SQLSTATE of an outcome, or its one word.
fn code(outcome: &str) -> &str {
    outcome.split(' ').next().unwrap_or_default()
}
