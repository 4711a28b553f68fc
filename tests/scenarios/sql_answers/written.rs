//! Hand-written statements, each said to PostgreSQL 15 and to a primary of ours, and the answers compared:
//! rows, counts and SQLSTATEs.
//!
//! Each file of the folder `written` is one area's and is run on servers of its own, from its first statement
//! to its last. Rows are compared in order where the statement has an ORDER BY. A comment in front of a
//! statement can say more:
//!
//! ```text
//! -- absent: what is not there, which ours refuses with 0A000
//! -- differs: why the answers differ
//! -- as NAME: this statement and the next ones in a session of this role, until another `as`
//! ```
//!
//! A difference that no comment names fails the test, and so does a comment whose difference is gone.

use super::{Answer, say_simple};
use postgres::{Client, NoTls};
use scenarios::{Node, PostgreSql, messages, project_root};
use std::collections::HashMap;
use std::path::Path;

/// What a comment in front of a statement expects.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Same,
    Absent,
    Differs,
}

/// Statements of a file, by what came of them.
#[derive(Debug, Default)]
struct Counts {
    same: usize,
    absent: usize,
    differing: usize,
    wrong: Vec<String>,
}

/// Sessions on one server by their roles.
pub(super) struct Sessions {
    conninfo: String,
    open: HashMap<String, Client>,
}

impl Sessions {
    pub(super) fn new(conninfo: String) -> Self {
        // The last value that a connection string gives counts.
        Self { conninfo, open: HashMap::new() }
    }

    pub(super) fn say(&mut self, role: &str, text: &str, ordered: bool) -> Answer {
        let client = match self.open.entry(role.to_owned()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let client = Client::connect(&format!("{} user={role}", self.conninfo), NoTls);
                let client = client.unwrap_or_else(|error| panic!("{role} cannot connect: {error}"));
                entry.insert(client)
            }
        };
        match say_simple(client, text) {
            Ok((mut rows, count)) => {
                if !ordered {
                    rows.sort();
                }
                Answer { rows, count, error: None }
            }
            Err(error) => {
                let told =
                    error.as_db_error().unwrap_or_else(|| panic!("{text}\nended the session: {error}"));
                Answer { rows: Vec::new(), count: 0, error: Some(told.code().code().to_owned()) }
            }
        }
    }
}

/// The comments in front of a statement, which begin its text.
fn comments(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines
        .take_while(|line| line.is_empty() || line.starts_with("--"))
        .filter_map(|line| line.strip_prefix("-- "))
}

fn run(path: &Path) -> Counts {
    let script = std::fs::read_to_string(path).expect("a file of statements");
    let (postgresql, node) = (PostgreSql::start(&[]), Node::builder().start());
    let (mut theirs, mut ours) = (Sessions::new(postgresql.conninfo()), Sessions::new(node.conninfo()));
    let mut counts = Counts::default();
    let mut role = "postgres".to_owned();
    for message in messages(&script) {
        let mut expected = Expected::Same;
        for comment in comments(&message.text) {
            if comment.starts_with("absent: ") {
                expected = Expected::Absent;
            } else if comment.starts_with("differs: ") {
                expected = Expected::Differs;
            } else if let Some(name) = comment.strip_prefix("as ") {
                role = name.to_owned();
            }
        }
        let ordered = message.text.to_lowercase().contains("order by");
        let (their, our) =
            (theirs.say(&role, &message.text, ordered), ours.say(&role, &message.text, ordered));
        let found = match &our.error {
            _ if our == their => Expected::Same,
            Some(code) if code == "0A000" => Expected::Absent,
            _ => Expected::Differs,
        };
        match found {
            Expected::Same => counts.same += 1,
            Expected::Absent => counts.absent += 1,
            Expected::Differs => counts.differing += 1,
        }
        if found != expected {
            let statement = message.text.trim();
            let place = format!("{}:{}", path.display(), message.line);
            counts.wrong.push(format!(
                "{place}: {expected:?} was expected\n{statement}\n  PostgreSQL: {their:?}\n  here:       {our:?}"
            ));
        }
    }
    counts
}

#[test]
fn hand_written_statements_give_postgresqls_answers_or_say_what_is_absent() {
    let folder = project_root().join("tests/scenarios/sql_answers/written");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let (mut same, mut all, mut wrong) = (0, 0, Vec::new());
    for path in files {
        let counts = run(&path);
        let Counts { same: alike, absent, differing, .. } = counts;
        eprintln!("{}: {alike} alike, {absent} absent, {differing} differ", path.display());
        same += alike;
        all += alike + absent + differing;
        wrong.extend(counts.wrong);
    }
    eprintln!("{same} of {all} alike");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(same * 100 >= all * 95, "only {same} of {all} statements are answered as by PostgreSQL");
}
