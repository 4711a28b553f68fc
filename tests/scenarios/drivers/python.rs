//! Drivers of Python.

use crate::toolbox::{Servers, Way, python, script};

fn compare(name: &str, arguments: &[&str], ways: &[Way]) {
    let servers = Servers::start();
    for way in ways {
        servers.compare(*way, |_| {
            let mut command = python();
            command.arg(script(name)).args(arguments);
            command
        });
    }
}

#[test]
fn psycopg_3_works() {
    compare("psycopg3.py", &[], &[Way::Trusted, Way::Encrypted]);
}

#[test]
fn psycopg_2_works() {
    compare("psycopg2_script.py", &[], &[Way::Trusted, Way::Encrypted]);
}

#[test]
fn asyncpg_works() {
    compare("asyncpg_script.py", &[], &[Way::Trusted, Way::Encrypted]);
}

#[test]
fn sqlalchemy_works_over_psycopg_3() {
    compare("sqlalchemy_script.py", &["psycopg"], &[Way::Encrypted]);
}

#[test]
fn sqlalchemy_works_over_psycopg_2() {
    compare("sqlalchemy_script.py", &["psycopg2"], &[Way::Encrypted]);
}

#[test]
fn sqlalchemy_works_over_asyncpg() {
    compare("sqlalchemy_script.py", &["asyncpg"], &[Way::Encrypted]);
}

/// asyncpg asks for the types of arrays by WITH RECURSIVE, which comes later: it is told so, and does not
/// hang.
#[test]
fn arrays_of_asyncpg_are_refused_by_name_until_queries_may_be_recursive() {
    let servers = Servers::start();
    let said = servers.say(|| {
        let mut command = python();
        command.arg(script("asyncpg_arrays.py"));
        command
    });
    assert!(said.stderr.contains("WITH RECURSIVE is not supported"), "{said:?}");
}
