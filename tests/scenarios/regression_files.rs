//! The statements of PostgreSQL 15's own regression files: what its grammar takes is no syntax error here,
//! and what it refuses is refused.
//!
//! The files are fetched (`tap/fetch.sh`) and not kept in this project. Both servers are asked in a
//! transaction that has failed already: they read a statement then, and go no further.

use postgres::{Client, NoTls};
use scenarios::{Message, Node, PostgreSql, messages, run_ok, variable};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Differences that a failure shows.
const SHOWN: usize = 60;

/// Statements that PostgreSQL refuses with 42601 and ours does not: most name a variable of psql (`:name`),
/// which sqlparser takes for a parameter; what is behind PostgreSQL's grammar refuses others.
const REFUSED_THERE_ALONE_MAX: usize = 140;

/// Of the statements that both refuse, so many percent at the same place.
const SAME_PLACE_PERCENT_MIN: usize = 90;

/// The folder of the fetched files, fetched under a lock by whoever comes first.
fn fetched() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgresql-tap");
    std::fs::create_dir_all(&folder).expect("a folder for the fetched files");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tap/fetch.sh");
    run_ok(Command::new("flock").arg(folder.join("lock")).arg(script).arg(folder.join("source")));
    folder.join("source/src/test/regress/sql")
}

/// What a server says of a statement: its SQLSTATE, the place of the error, and the message.
#[derive(Debug)]
struct Verdict {
    code: String,
    position: Option<u32>,
    message: String,
}

/// A session whose transaction has failed.
struct Failed(Client);

impl Failed {
    fn new(conninfo: &str) -> Self {
        let mut failed = Self(Client::connect(conninfo, NoTls).expect("connects"));
        failed.fail();
        failed
    }

    fn fail(&mut self) {
        self.0.batch_execute("BEGIN").expect("a transaction begins");
        assert!(self.0.batch_execute("SELECT 1 / 0").is_err(), "the transaction fails");
    }

    fn ask(&mut self, text: &str) -> Verdict {
        match self.0.simple_query(text) {
            Ok(_) => {
                // It ended the transaction, or said nothing.
                let _ = self.0.batch_execute("ROLLBACK");
                self.fail();
                Verdict { code: "00000".to_owned(), position: None, message: String::new() }
            }
            Err(error) => {
                let told =
                    error.as_db_error().unwrap_or_else(|| panic!("{text}\nended the session: {error}"));
                let position = match told.position() {
                    Some(postgres::error::ErrorPosition::Original(position)) => Some(*position),
                    _ => None,
                };
                let code = told.code().code().to_owned();
                if code != "25P02" {
                    // A savepoint that is not there, say, leaves the transaction as it is; else begin anew.
                    let _ = self.0.batch_execute("ROLLBACK");
                    self.fail();
                }
                Verdict { code, position, message: told.message().to_owned() }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    statements: usize,
    taken_by_both: usize,
    absent: usize,
    refused_by_both: usize,
    at_the_same_place: usize,
    refused_there_alone: Vec<String>,
    refused_here_alone: Vec<String>,
    elsewhere: Vec<String>,
}

impl Counts {
    fn add(&mut self, file: &str, message: &Message, theirs: &Verdict, ours: &Verdict) {
        self.statements += 1;
        let text: String = message.text.trim().chars().take(200).collect();
        let line = format!(
            "{file}:{}: {text}\n  PostgreSQL: {} {} at {:?}\n  here:       {} {} at {:?}",
            message.line,
            theirs.code,
            theirs.message,
            theirs.position,
            ours.code,
            ours.message,
            ours.position
        );
        // Options are looked at behind the grammar, and ours does so at once.
        let behind = ["requires", "unrecognized"].iter().any(|word| ours.message.contains(word));
        match (theirs.code == "42601", ours.code == "42601" && !behind) {
            (false, false) => {
                self.taken_by_both += 1;
                self.absent += usize::from(ours.code == "0A000");
            }
            (false, true) => self.refused_here_alone.push(line),
            (true, false) => self.refused_there_alone.push(line),
            (true, true) => {
                self.refused_by_both += 1;
                if theirs.position == ours.position {
                    self.at_the_same_place += 1;
                } else {
                    self.elsewhere.push(line);
                }
            }
        }
    }
}

fn show(what: &str, lines: &[String]) {
    eprintln!("{}: {what}", lines.len());
    let shown = if variable("PLIMSOLL_SHOW") == Some(1) { lines.len() } else { SHOWN.min(lines.len()) };
    lines.iter().take(shown).for_each(|line| eprintln!("{line}"));
}

#[test]
fn what_postgresqls_grammar_takes_is_no_syntax_error_here() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(fetched()).expect("the files").map(|entry| entry.expect("a file").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    assert!(files.len() > 200, "only {} files were fetched", files.len());
    let (postgresql, node) = (PostgreSql::start(&[]), Node::builder().start());
    let (mut theirs, mut ours) = (Failed::new(&postgresql.conninfo()), Failed::new(&node.conninfo()));
    let mut counts = Counts::default();
    for path in files {
        let script = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for message in messages(&script) {
            let (their, our) = (theirs.ask(&message.text), ours.ask(&message.text));
            counts.add(&file, &message, &their, &our);
        }
    }
    show("at another place", &counts.elsewhere);
    show("refused by PostgreSQL alone", &counts.refused_there_alone);
    show("refused here alone", &counts.refused_here_alone);
    eprintln!(
        "{} statements, {} taken by both grammars ({} absent here), {} refused by both, {} of them at the same place",
        counts.statements,
        counts.taken_by_both,
        counts.absent,
        counts.refused_by_both,
        counts.at_the_same_place
    );
    assert!(counts.statements > 40_000, "only {} statements were found", counts.statements);
    assert!(counts.refused_here_alone.is_empty(), "what PostgreSQL's grammar takes is a syntax error here");
    assert!(counts.refused_there_alone.len() <= REFUSED_THERE_ALONE_MAX);
    assert!(counts.at_the_same_place * 100 >= counts.refused_by_both * SAME_PLACE_PERCENT_MIN);
}
