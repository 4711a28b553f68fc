//! What names of files, settings and statements reach, and where secrets show.

use super::{Case, Target, other, same};
use std::fs;

fn startup(target: &Target, name: &str, value: &str) -> String {
    let mut raw = target.unix();
    raw.startup(&[("user", "app"), ("database", "postgres"), (name, value)]);
    raw.outcome()
}

fn message(target: &Target, bytes: &[u8]) -> String {
    let mut raw = target.session("app");
    raw.write(bytes);
    raw.outcome()
}

pub const CASES: &[Case] = &[
    same("a slot with a path for a name", |target| {
        target.sql("postgres", "SELECT pg_create_physical_replication_slot('../../escape')")
    }),
    same("a slot with a dot for a name", |target| {
        target.sql("postgres", "SELECT pg_create_physical_replication_slot('.')")
    }),
    same("a slot without a name", |target| {
        target.sql("postgres", "SELECT pg_create_physical_replication_slot('')")
    }),
    same("a slot with a name too long", |target| {
        target.sql("postgres", "SELECT pg_create_physical_replication_slot(repeat('s', 64))")
    }),
    same("a slot with a path for a name, by the command", |target| {
        target.replication("rep", "CREATE_REPLICATION_SLOT \"../escape\" PHYSICAL")
    }),
    same("a slot copied to a path", |target| {
        target.sql("postgres", "SELECT pg_copy_physical_replication_slot('nosuch', '../escape')")
    }),
    other(
        "a file of the system, by a role without rights",
        |target| target.sql("app", "SELECT pg_read_file('/etc/passwd')"),
        "42883",
        "there is no such function",
    ),
    other(
        "a file outside of the directory, by a role without rights",
        |target| target.sql("app", "SELECT pg_read_file('../../../etc/passwd')"),
        "42883",
        "there is no such function",
    ),
    other(
        "a folder, by a role without rights",
        |target| target.sql("app", "SELECT pg_ls_waldir()"),
        "0A000",
        "it is not there",
    ),
    other(
        "a copy into a file, by a role without rights",
        |target| target.sql("app", "COPY (SELECT 1) TO '/tmp/plimsoll-escape'"),
        "0A000",
        "it is not there",
    ),
    other(
        "a copy from a program, by a role without rights",
        |target| target.sql("app", "COPY (SELECT 1) TO PROGRAM 'true'"),
        "0A000",
        "it is not there",
    ),
    same("a file of rules set by a session", |target| target.sql("postgres", "SET hba_file = '/tmp/x'")),
    same("a directory set for good", |target| {
        target.sql("postgres", "ALTER SYSTEM SET data_directory = '/tmp/x'")
    }),
    same("a file of settings set for good", |target| {
        target.sql("postgres", "ALTER SYSTEM SET config_file = '/tmp/x'")
    }),
    same("a certificate set by a session", |target| {
        target.sql("postgres", "SET ssl_cert_file = '/etc/passwd'")
    }),
    same("a setting for good, by a role without rights", |target| {
        target.sql("app", "ALTER SYSTEM SET work_mem = '1MB'")
    }),
    same("a line smuggled into the file of settings", |target| {
        target.sql("postgres", "ALTER SYSTEM SET search_path = E'x\\nport = 1'")
    }),
    same("a restore point with a name too long", |target| {
        target.sql("postgres", "SELECT pg_create_restore_point(repeat('r', 64))")
    }),
    same("a restore point, by a role without rights", |target| {
        target.sql("app", "SELECT pg_create_restore_point('r')")
    }),
    same("another segment, by a role without rights", |target| target.sql("app", "SELECT pg_switch_wal()")),
    same("a reload, by a role without rights", |target| target.sql("app", "SELECT pg_reload_conf()")),
    same("a promotion, by a role without rights", |target| target.sql("app", "SELECT pg_promote()")),
    same("another role's session ended, by a role without rights", |target| {
        let other = target.session("postgres");
        let outcome = target.sql(
            "app",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' LIMIT 1",
        );
        drop(other);
        outcome
    }),
    same("a checkpoint, by a role without rights", |target| target.sql("app", "CHECKPOINT")),
    same("passwords of roles, by a role without rights", |target| {
        target.sql("app", "SELECT rolpassword FROM pg_authid")
    }),
    same("the rules, by a role without rights", |target| {
        target.sql("app", "SELECT * FROM pg_hba_file_rules")
    }),
    same("the maps, by a role without rights", |target| {
        target.sql("app", "SELECT * FROM pg_ident_file_mappings")
    }),
    same("another role's statement shows to nobody", |target| {
        let mut own = target.session("postgres");
        own.query("SELECT 'a-secret-of-postgres'");
        let mut raw = target.session("app");
        raw.send(b'Q', b"SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%a-secret-of-p%' AND usename <> 'app'\0");
        let mut seen = String::new();
        while let Some((kind, body)) = raw.answer() {
            match kind {
                b'D' => seen = String::from_utf8_lossy(&body[6..]).into_owned(),
                b'Z' => break,
                _ => {}
            }
        }
        seen
    }),
    same("a password that was refused is not in the log", |target| {
        let mut raw = target.tcp();
        raw.startup(&[("user", "plain"), ("database", "postgres")]);
        let _ = raw.answer();
        raw.send(b'p', b"a-wrong-secret\0");
        let outcome = raw.outcome();
        let log = fs::read(&target.log).expect("a log");
        let told = String::from_utf8_lossy(&log).contains("a-wrong-secret");
        assert!(!told, "the log has it");
        outcome
    }),
    same("a role given at the start", |target| startup(target, "role", "postgres")),
    same("another identity given at the start", |target| {
        startup(target, "session_authorization", "postgres")
    }),
    same("superuser given at the start", |target| startup(target, "is_superuser", "on")),
    same("a setting of superusers given at the start", |target| {
        startup(target, "options", "-c log_min_messages=panic")
    }),
    same("a setting that there is not given at the start", |target| startup(target, "nosuch", "x")),
    same("a port given at the start", |target| startup(target, "options", "-c port=1")),
    other(
        "a message shorter than its length word",
        |target| message(target, b"Q\0\0\0\x03"),
        "08P01",
        "PostgreSQL closes the connection without a word",
    ),
    other(
        "a message of a negative length",
        |target| message(target, b"Q\xff\xff\xff\xff"),
        "08P01",
        "PostgreSQL closes the connection without a word",
    ),
    other(
        "a small message of 1 GB",
        |target| message(target, b"S\x3f\xff\xff\xff"),
        "08P01",
        "PostgreSQL closes the connection without a word",
    ),
    same("a kind of message that there is not", |target| message(target, b"z\0\0\0\x04")),
    other(
        "a Bind with more values than it has",
        |target| message(target, b"B\0\0\0\x10\0\0\0\0\xff\xff\0\0\0\0\0\0S\0\0\0\x04"),
        "08P01",
        "PostgreSQL looks for the statement first",
    ),
    same("a statement cancelled with a wrong secret", |target| {
        let mut raw = target.tcp();
        raw.write(&[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 1]);
        raw.outcome()
    }),
];
