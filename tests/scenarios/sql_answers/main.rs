//! Generated SQL transactions give PostgreSQL 15's answers: rows, counts, SQLSTATEs and messages, while they
//! run and after a kill.
//!
//! Each seed makes its own tables, then says the same statements to a real PostgreSQL 15 and to a primary of
//! ours with a small write set, so that many transactions go early. A standby follows. Two sessions take
//! turns; none ever waits for the other, so the order of all statements is the seed's alone. `PLIMSOLL_SEED`
//! replays one; what failed is printed with the statements before it.

mod chance;
mod generate;
mod queries;
mod written;

use generate::{Generator, Statement, TABLES};
use postgres::types::ToSql;
use postgres::{Client, NoTls, SimpleQueryMessage};
use scenarios::{Node, PostgreSql, variable};
use std::collections::VecDeque;

/// Statements that a failure shows.
const SHOWN: usize = 40;

/// What came back: rows as `a|b`, what the command counted, and SQLSTATE with message if it failed.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    rows: Vec<String>,
    count: u64,
    error: Option<String>,
}

fn error_text(error: &postgres::Error) -> String {
    let told = error.as_db_error().unwrap_or_else(|| panic!("the connection broke: {error}"));
    match told.code().code() {
        // Of several rows that others have changed, either may be met first; and a row whose key went
        // elsewhere is deleted here.
        "40001" => "40001".to_owned(),
        code => format!("{code} {}", told.message()),
    }
}

/// Says a statement that has numbers as parameters the way drivers do.
fn say_prepared(
    client: &mut Client,
    sql: &str,
    numbers: &[i32],
) -> Result<(Vec<String>, u64), postgres::Error> {
    let parameters: Vec<&(dyn ToSql + Sync)> = numbers.iter().map(|number| number as _).collect();
    let prepared = client.prepare(sql)?;
    if prepared.columns().is_empty() {
        return Ok((Vec::new(), client.execute(&prepared, &parameters)?));
    }
    let rows = client.query(&prepared, &parameters)?;
    let text = |row: &postgres::Row| {
        let values =
            (0..row.len()).map(|at| row.get::<_, Option<String>>(at).unwrap_or_else(|| "NULL".to_owned()));
        values.collect::<Vec<_>>().join("|")
    };
    Ok((rows.iter().map(text).collect(), rows.len() as u64))
}

fn say_simple(client: &mut Client, sql: &str) -> Result<(Vec<String>, u64), postgres::Error> {
    let (mut rows, mut count) = (Vec::new(), 0);
    for message in client.simple_query(sql)? {
        match message {
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
                rows.push(values.collect::<Vec<_>>().join("|"));
            }
            SimpleQueryMessage::CommandComplete(counted) => count = counted,
            _ => {}
        }
    }
    Ok((rows, count))
}

fn say(client: &mut Client, statement: &Statement) -> Answer {
    let said = match &statement.numbers {
        Some(numbers) => say_prepared(client, &statement.sql, numbers),
        None => say_simple(client, &statement.sql),
    };
    match said {
        Ok((mut rows, count)) => {
            if !statement.ordered {
                rows.sort();
            }
            Answer { rows, count, error: None }
        }
        Err(error) => Answer { rows: Vec::new(), count: 0, error: Some(error_text(&error)) },
    }
}

/// Both servers, with the sessions on each and what was said to them.
struct Pair {
    theirs: Vec<Client>,
    ours: Vec<Client>,
    said: VecDeque<String>,
    statements: u64,
}

impl Pair {
    fn connect(postgresql: &PostgreSql, node: &Node) -> Self {
        let connect = |conninfo: &str| {
            let client = || {
                let mut client = Client::connect(conninfo, NoTls).expect("connects");
                // No statement is to wait; one that does is to say so.
                client.batch_execute("SET lock_timeout = '10s'").expect("a setting");
                client
            };
            vec![client(), client()]
        };
        let (theirs, ours) = (connect(&postgresql.conninfo()), connect(&node.conninfo()));
        Self { theirs, ours, said: VecDeque::new(), statements: 0 }
    }

    /// Says a statement to both in this session and compares. Whether it failed.
    fn say(&mut self, session: usize, statement: &Statement, seed: u64) -> bool {
        let theirs = say(&mut self.theirs[session], statement);
        let ours = say(&mut self.ours[session], statement);
        if self.said.len() == SHOWN {
            self.said.pop_front();
        }
        let numbers =
            statement.numbers.as_ref().map(|numbers| format!(" -- {numbers:?}")).unwrap_or_default();
        let error = theirs.error.as_ref().map(|error| format!(" -- {error}")).unwrap_or_default();
        self.said.push_back(format!("{session}> {};{numbers}{error}", statement.sql));
        self.statements += 1;
        let said = || self.said.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(
            ours == theirs,
            "PLIMSOLL_SEED={seed}\n{}\nPostgreSQL: {theirs:?}\nhere:       {ours:?}",
            said()
        );
        theirs.error.is_some()
    }
}

/// All tables, each row as text.
fn contents(client: &mut Client) -> Vec<(String, Vec<String>)> {
    let read = |table: &str| {
        let (mut rows, _) = say_simple(client, &format!("SELECT * FROM {table}")).expect("the table is read");
        rows.sort();
        (table.to_owned(), rows)
    };
    TABLES.iter().copied().map(read).collect()
}

fn connect(node: &Node) -> Client {
    Client::connect(&node.conninfo(), NoTls).expect("connects")
}

/// Says a seed's transactions to both; gives how many statements, and how many of them failed.
fn run_seed(pair: &mut Pair, seed: u64, transactions: usize) -> (u64, u64) {
    let mut generator = Generator::new(seed);
    let (before, mut failed) = (pair.statements, 0);
    for statement in generator.schema() {
        assert!(!pair.say(0, &statement, seed), "seed {seed}: {} fails", statement.sql);
    }
    while generator.transactions < transactions || !generator.is_idle() {
        let (session, statement) = generator.next(generator.transactions >= transactions);
        let error = pair.say(session, &statement, seed);
        generator.heard(session, error);
        failed += u64::from(error);
    }
    (pair.statements - before, failed)
}

#[test]
fn generated_transactions_give_postgresqls_answers_and_outlive_kills_and_reach_the_standby() {
    let long = variable("PLIMSOLL_LONG_TESTS") == Some(1);
    let (seeds, transactions) = if long { (50, 100) } else { (2, 30) };
    let seeds: Vec<u64> = match variable("PLIMSOLL_SEED") {
        Some(seed) => vec![seed],
        None => (0..seeds).map(|_| fastrand::u64(..1 << 32)).collect(),
    };
    let postgresql = PostgreSql::start(&[]);
    let node =
        Node::builder().setting("plimsoll.write_set_limit", "64kB").setting("shared_buffers", "8MB").start();
    let standby = Node::builder().clone_from(&node);
    let mut pair = Pair::connect(&postgresql, &node);
    for seed in seeds {
        eprintln!("PLIMSOLL_SEED={seed}");
        let (statements, failed) = run_seed(&mut pair, seed, transactions);
        eprintln!("{transactions} transactions, {statements} statements, {failed} of them errors");
        let expected = contents(&mut pair.theirs[0]);
        let lsn = node.sql("SELECT pg_current_wal_lsn()");
        assert!(contents(&mut pair.ours[0]) == expected, "PLIMSOLL_SEED={seed}: the tables differ");
        node.kill_9();
        node.start();
        pair = Pair::connect(&postgresql, &node);
        assert!(
            contents(&mut pair.ours[0]) == expected,
            "PLIMSOLL_SEED={seed}: the tables differ after a kill"
        );
        standby.wait_replayed(&lsn);
        assert!(
            contents(&mut connect(&standby)) == expected,
            "PLIMSOLL_SEED={seed}: the standby's tables differ"
        );
    }
}
