//! The same messages, byte for byte, sent to a real PostgreSQL 15 and to a server of ours, and the sequences
//! of answers compared: the rules of the manual's chapter "Message Flow", one case each. `DIFFERENCES` has
//! what is meant to be otherwise here, with the reason.

mod answers;
mod cases;
mod copies;
mod messages;

use answers::Session;
use cases::{CASES, Case, DIFFERENCES, SCHEMA};
use scenarios::{Node, PostgreSql};
use std::path::PathBuf;

fn run(socket: &std::path::Path, case: &Case) -> Vec<String> {
    let mut session = Session::connect(socket);
    for step in (case.steps)() {
        session.step(&step);
    }
    session.end()
}

#[test]
fn messages_in_any_order_are_answered_as_postgresql_answers_them() {
    let postgresql = PostgreSql::start(&[]);
    let node = Node::builder().start();
    let sockets: [PathBuf; 2] = [postgresql.socket(), node.socket()];
    for socket in &sockets {
        let mut session = Session::connect(socket);
        session.step(&messages::query(SCHEMA));
        let made = session.end();
        assert!(!made.iter().any(|answer| answer.starts_with("Error")), "{made:#?}");
    }
    let mut wrong = Vec::new();
    let cases = CASES.iter().chain(copies::CASES);
    for case in cases.clone() {
        let [theirs, ours] = sockets.each_ref().map(|socket| run(socket, case));
        let listed = DIFFERENCES.iter().find(|listed| listed.case == case.name);
        let expected = listed.map_or(&theirs, |listed| {
            assert!(!listed.why.is_empty() && ours != theirs, "{}: no difference any more", case.name);
            &ours
        });
        if *expected != ours {
            let [theirs, ours] = [theirs, ours].map(|answers| answers.join("\n    "));
            wrong.push(format!("{}\n  PostgreSQL:\n    {theirs}\n  here:\n    {ours}", case.name));
        }
    }
    let count = cases.count();
    assert!(wrong.is_empty(), "{} of {count} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("{count} cases, {} differences by intent", DIFFERENCES.len());
}
