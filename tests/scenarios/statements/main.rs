//! Single statements on a server of ours and on a real PostgreSQL 15, which must give the same rows, counts
//! and SQLSTATEs: by hand in files of this folder, a file an area, and made by chance.
//!
//! A file holds a statement a line. A line `-- differs: why` says of the next one that it is answered
//! otherwise by intent; a statement that is absent with 0A000 needs `-- absent: what`.

mod generate;

use postgres::{Client, NoTls, SimpleQueryMessage};
use scenarios::{Node, PostgreSql, project_root, variable};
use std::collections::BTreeMap;
use std::fs;

/// What came back: rows as `a|b`, counts, SQLSTATE.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    rows: Vec<String>,
    count: u64,
    state: String,
}

fn say(client: &mut Client, sql: &str) -> Answer {
    let (mut rows, mut count) = (Vec::new(), 0);
    let said = client.simple_query(sql);
    let state = match said {
        Ok(messages) => {
            for message in messages {
                match message {
                    SimpleQueryMessage::Row(row) => {
                        let values = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
                        rows.push(values.collect::<Vec<_>>().join("|"));
                    }
                    SimpleQueryMessage::CommandComplete(counted) => count = counted,
                    _ => {}
                }
            }
            String::new()
        }
        Err(error) => {
            let told = error.code().unwrap_or_else(|| panic!("{sql}\nthe connection broke: {error}"));
            rows.clear();
            told.code().to_owned()
        }
    };
    Answer { rows, count, state }
}

struct Pair {
    theirs: Client,
    ours: Client,
}

impl Pair {
    fn connect(postgresql: &PostgreSql, node: &Node) -> Self {
        let connect = |conninfo: &str| {
            let mut client = Client::connect(conninfo, NoTls).expect("connects");
            client.batch_execute("SET lock_timeout = '10s'; SET timezone = 'UTC'").expect("settings");
            client
        };
        Self { theirs: connect(&postgresql.conninfo()), ours: connect(&node.conninfo()) }
    }

    fn say(&mut self, sql: &str) -> (Answer, Answer) {
        (say(&mut self.theirs, sql), say(&mut self.ours, sql))
    }
}

fn servers() -> (PostgreSql, Node) {
    // PostgreSQL in our collation and with the locale's words that ours knows.
    (PostgreSql::start(&[]), Node::builder().start())
}

#[test]
fn statements_of_every_area_are_answered_as_postgresql_answers_them() {
    let (postgresql, node) = servers();
    let folder = project_root().join("tests/scenarios/statements");
    let mut wrong = Vec::new();
    let (mut statements, mut listed) = (0, 0);
    for entry in fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()) {
        if entry.extension().is_none_or(|kind| kind != "sql") {
            continue;
        }
        let mut pair = Pair::connect(&postgresql, &node);
        let text = fs::read_to_string(&entry).expect("a file");
        let mut expected = None;
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("--") {
                let comment = comment.trim();
                if comment.starts_with("differs: ") || comment.starts_with("absent: ") {
                    expected = Some(comment.to_owned());
                }
                continue;
            }
            statements += 1;
            let (theirs, ours) = pair.say(line);
            let is_right = match expected.take() {
                None => theirs == ours,
                Some(why) => {
                    listed += 1;
                    theirs != ours && (why.starts_with("differs: ") || ours.state == "0A000")
                }
            };
            if !is_right {
                wrong.push(format!("{line}\n    PostgreSQL: {theirs:?}\n    here:       {ours:?}"));
            }
        }
    }
    eprintln!("{statements} statements, {listed} listed as different");
    assert!(wrong.is_empty(), "{} of {statements}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(listed * 20 <= statements, "{listed} of {statements} are listed as different");
}

#[test]
fn generated_statements_are_answered_as_postgresql_answers_them() {
    let long = variable("PLIMSOLL_LONG_TESTS") == Some(1);
    let count = variable("PLIMSOLL_STATEMENTS").unwrap_or(if long { 5000 } else { 600 });
    let seed = variable("PLIMSOLL_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    eprintln!("PLIMSOLL_SEED={seed}");
    let (postgresql, node) = servers();
    let mut pair = Pair::connect(&postgresql, &node);
    let mut generator = generate::Generator::new(seed);
    let (mut equal, mut known, mut unknown) = (0, BTreeMap::new(), Vec::new());
    for _ in 0..count {
        let statement = generator.next();
        let (theirs, ours) = pair.say(&statement);
        if theirs == ours {
            equal += 1;
            continue;
        }
        match generate::reason(&statement, &theirs.state, &ours.state) {
            Some(reason) => *known.entry(reason).or_insert(0) += 1,
            None => {
                unknown.push(format!("{statement}\n    PostgreSQL: {theirs:?}\n    here:       {ours:?}"))
            }
        }
    }
    eprintln!("{equal} of {count} statements equal; {known:?}");
    assert!(unknown.is_empty(), "PLIMSOLL_SEED={seed}: {} differ:\n{}", unknown.len(), unknown.join("\n"));
    assert!(equal * 100 >= count * 95, "PLIMSOLL_SEED={seed}: only {equal} of {count} are equal");
}
