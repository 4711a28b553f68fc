//! What a rewind discards is told, kept, and can be made SQL of.

use super::{Pair, is_ok};
use scenarios::{Node, SmallDisk, plimsoll, run, run_ok};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The lines of JSON, without the first, which names the discard.
fn commits(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let lines: Vec<Value> = lines.collect();
    assert!(lines[0].get("discarded").is_some(), "{}", lines[0]);
    lines[1..].to_vec()
}

/// The files in which a node has kept what its rewinds discarded.
fn kept(pair: &Pair) -> Vec<PathBuf> {
    let folder = pair.one.data().join("plimsoll");
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        names.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files
}

fn the_one(files: Vec<PathBuf>) -> PathBuf {
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().expect("a file")
}

#[test]
fn every_commit_behind_the_fork_is_told_row_by_row_and_nothing_else() {
    let pair = Pair::new(&[("plimsoll.write_set_limit", "1MB")]);
    pair.one.sql("CREATE TABLE told (id int PRIMARY KEY, v text, n numeric)");
    pair.one.sql("INSERT INTO told VALUES (1, 'one', 1), (2, 'two', 2), (3, repeat('long', 4000), 3)");
    pair.one.sql("CHECKPOINT");
    pair.one.sql("UPDATE told SET v = 'changed before' WHERE id = 2");
    pair.cut_off();
    for statement in [
        "UPDATE told SET v = 'here' WHERE id IN (1, 2)",
        "DELETE FROM told WHERE id = 3",
        "BEGIN; INSERT INTO told VALUES (4, 'undone', NULL); ROLLBACK",
        "BEGIN; INSERT INTO told VALUES (5, 'it''s', NULL); UPDATE told SET n = 5 WHERE id = 5; \
         INSERT INTO told VALUES (6, '', 6); DELETE FROM told WHERE id = 6; COMMIT",
        "CREATE TABLE made (id int PRIMARY KEY, v text)",
        "INSERT INTO made SELECT g, repeat('x', 300) FROM generate_series(1, 20000) g",
        "ALTER TABLE told ADD COLUMN more int",
        "TRUNCATE kv",
    ] {
        pair.one.sql(statement);
    }
    pair.promote();
    pair.two.sql("INSERT INTO told VALUES (7, 'not mine', NULL)");
    pair.one.kill_9();

    let told = pair.rewind(&pair.two.conninfo(), &["--dry-run", "--json"]);
    is_ok(&told);
    let commits = commits(&told.stdout);
    assert_eq!(commits.len(), 7, "{}", told.stdout.chars().take(4000).collect::<String>());
    assert_is_all(&commits);

    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    pair.one.start();
    pair.one.wait_for("SELECT count(*) FROM told WHERE id = 7", "1");
    pair.one.stop();
    let file = the_one(kept(&pair));
    let lines = fs::read_to_string(&file).expect("the file stays");
    assert_eq!(super::discarded::commits(&lines), commits);
    let ledger = fs::read_to_string(pair.one.data().join("plimsoll/ledger")).expect("a ledger");
    assert!(ledger.contains(" discarded ") && ledger.contains("7 commits"), "{ledger}");

    let again = pair.rewind(&pair.two.conninfo(), &[]);
    is_ok(&again);
    for words in ["no rewind required: ", "it is a standby of \"", "start it with: "] {
        assert!(again.stdout.contains(words), "{words}: {again:?}");
    }
    let other = run(plimsoll().args(["rewind", "--replay"]).arg(pair.one.data().join("postgresql.conf")));
    assert_eq!((other.code, other.stdout.as_str()), (1, ""), "{other:?}");
    assert!(other.stderr.contains("is no file of what a rewind discarded"), "{other:?}");

    // A person takes some of them over.
    let sql = run_ok(plimsoll().args(["rewind", "--replay"]).arg(&file));
    let (settings, _) = sql.split_once("\n\n").expect("settings");
    let replay = |what: &str| {
        let commit = sql.split("\n\n").find(|commit| commit.contains(what)).expect("a commit");
        pair.two.try_sql(&format!("{settings}\n{commit}"))
    };
    pair.two.sql("UPDATE told SET v = 'meanwhile' WHERE id = 2");
    let error = replay("'here'");
    assert!(error.stderr.contains("\"told\" (\"id\" = '2'): rows that the commit found: 1"), "{error:?}");
    assert_eq!(pair.two.sql("SELECT v FROM told WHERE id IN (1, 2) ORDER BY id"), "one\nmeanwhile");
    pair.two.sql("UPDATE told SET v = 'changed before' WHERE id = 2");
    is_ok(&replay("'here'"));
    is_ok(&replay("it''s"));
    let error = replay("it''s");
    assert!(error.stderr.contains("duplicate key value"), "{error:?}");
    assert_eq!(pair.two.sql("SELECT v FROM told WHERE id IN (1, 2, 5) ORDER BY id"), "here\nhere\nit's");
}

/// What each of them changed, in their order.
fn assert_is_all(commits: &[Value]) {
    let row = |id: &str, v: &str, n: Value| json!({"id": id, "v": v, "n": n});
    let change = |op: &str, id: &str, old: Value, new: Value| json!({"table": "told", "op": op, "key": {"id": id}, "old": old, "new": new});
    assert_eq!(
        commits[0]["changes"],
        json!([
            change("update", "1", row("1", "one", json!("1")), row("1", "here", json!("1"))),
            change("update", "2", row("2", "changed before", json!("2")), row("2", "here", json!("2"))),
        ])
    );
    let long = row("3", &"long".repeat(4000), json!("3"));
    assert_eq!(commits[1]["changes"], json!([change("delete", "3", long, Value::Null)]));
    assert_eq!(commits[1]["tables"], json!(["told"]));
    let five = row("5", "it's", json!("5"));
    assert_eq!(commits[2]["changes"], json!([change("insert", "5", Value::Null, five)]));
    assert!(commits[3]["catalogue"].to_string().contains("created table made"), "{}", commits[3]);
    // A large transaction, whose rows went into pages before its commit.
    let rows = commits[4]["changes"].as_array().expect("changes");
    assert_eq!(rows.len(), 20_000);
    assert!(rows.iter().all(|row| row["op"] == "insert" && row["table"] == "made"));
    assert!(commits[5]["catalogue"].to_string().contains("told.more"), "{}", commits[5]);
    assert_eq!(commits[6]["tables"], json!(["kv"]));
    assert_eq!(commits[6]["catalogue"], json!(["emptied table kv (TRUNCATE)"]), "its indexes follow from it");
}

/// Files that it has begun to change do not tell any more what was there before.
#[test]
fn a_rewind_that_was_broken_off_and_is_run_again_leaves_the_report_of_its_first_run() {
    let pair = Pair::new(&[]);
    pair.cut_off();
    pair.one.sql("UPDATE kept SET v = 'here' WHERE k = 1");
    pair.promote();
    pair.two.sql("UPDATE kept SET v = 'there' WHERE k = 1");
    pair.one.kill_9();
    let (data, before) = (pair.one.data(), pair.one.folder().join("before"));
    run_ok(Command::new("cp").arg("-a").arg(&data).arg(&before));
    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    let file = the_one(kept(&pair));
    let told = fs::read_to_string(&file).expect("the report");

    // As a crash leaves it right after the first change, with a line that only the first run could tell of.
    fs::remove_dir_all(&data).expect("it goes");
    run_ok(Command::new("mv").arg(&before).arg(&data));
    let marker = wal::codec::seal_text("plimsoll rewind 1\nsource=two\nphase=copying\n".to_owned());
    fs::write(data.join("plimsoll.rewind"), marker).expect("the marker is written");
    let told = format!("{told}{}\n", json!({"xid": 1, "changes": [], "catalogue": []}));
    fs::write(&file, &told).expect("the report is written");
    for more in [&["--dry-run", "--json"][..], &["--json"][..]] {
        let again = pair.rewind(&pair.two.conninfo(), more);
        is_ok(&again);
        assert_eq!(commits(&again.stdout), commits(&told));
        assert_eq!(fs::read_to_string(the_one(kept(&pair))).expect("the report"), told);
    }
    pair.one.start();
    pair.one.wait_for("SELECT v FROM kept WHERE k = 1", "there");
}

/// How often the ledger of a node tells of a discard.
fn told(pair: &Pair) -> usize {
    let ledger = fs::read_to_string(pair.one.data().join("plimsoll/ledger")).unwrap_or_default();
    ledger.matches(" discarded ").count()
}

#[test]
fn the_ledger_tells_of_a_discard_once_and_not_before_the_rewind_is_sure_to_begin() {
    let pair = Pair::new(&[]);
    pair.cut_off();
    pair.one.sql("UPDATE kept SET v = 'here' WHERE k = 1");
    // It does not hear that it is replaced.
    pair.one.kill_9();
    pair.promote();
    pair.two.sql("CREATE TABLE made_there AS SELECT g, repeat('t', 700) FROM generate_series(1, 20000) g");
    let (data, aside) = (pair.one.data(), pair.one.folder().join("aside"));

    // A disk on which there is room for what is here, and a little more.
    run_ok(Command::new("cp").arg("-a").arg(&data).arg(&aside));
    let used = run_ok(Command::new("du").arg("-sm").arg(&aside));
    let used: u64 = used.split_whitespace().next().expect("a number").parse().expect("a number");
    match SmallDisk::mount(&data, used + 4) {
        Ok(_small) => {
            run_ok(Command::new("cp").arg("-a").arg(aside.join(".")).arg(&data));
            let refused = pair.rewind(&pair.two.conninfo(), &[]);
            assert!(refused.code == 1 && refused.stderr.contains("there is no room for"), "{refused:?}");
            assert_eq!(told(&pair), 0, "nothing is discarded");
        }
        Err(why) => eprintln!("SKIPPED: {why}"),
    }

    // It is broken off where nothing keeps the server from writing on yet, and where it takes that back.
    for (name, shown) in [("plimsoll.rewind.tmp", "plimsoll.rewind"), ("plimsoll/ledger.old", "ledger")] {
        let in_the_way = data.join(name);
        fs::create_dir(&in_the_way).expect("a folder");
        let failed = pair.rewind(&pair.two.conninfo(), &[]);
        assert!(failed.code == 1 && failed.stderr.contains(shown), "{failed:?}");
        assert_eq!(told(&pair), 0, "nothing is discarded");
        fs::remove_dir(&in_the_way).expect("it goes");
        pair.two.stop();
        pair.one.start();
        pair.one.sql("UPDATE kept SET v = v || ' and on' WHERE k = 1");
        pair.one.kill_9();
        pair.two.start();
    }
    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    assert_eq!(told(&pair), 1);
    pair.one.start();
    pair.one.wait_for("SELECT count(*) FROM made_there", "20000");
}

/// Both branches that are given up left the last one's at the same place.
#[test]
fn two_discards_at_one_fork_have_a_file_each() {
    let pair = Pair::new(&[]);
    let three = Node::builder().setting("wal_keep_size", "1GB").clone_from(&pair.one);
    pair.cut_off();
    three.wait_replayed(&pair.one.sql("SELECT pg_current_wal_lsn()"));
    three.alter("SET primary_conninfo = ''");
    three.wait_for("SELECT count(*) FROM pg_stat_wal_receiver", "0");
    pair.one.sql("UPDATE kept SET v = 'only on one' WHERE k = 1");
    pair.one.kill_9();
    pair.promote();
    pair.two.sql("UPDATE kept SET v = 'only on two' WHERE k = 1");
    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    let first = the_one(kept(&pair));
    pair.one.start();
    pair.one.wait_for("SELECT v FROM kept WHERE k = 1", "only on two");
    pair.one.stop();
    pair.two.kill_9();

    run_ok(plimsoll().args(["promote", "-D"]).arg(three.data()));
    three.sql("UPDATE kept SET v = 'only on three' WHERE k = 2");
    is_ok(&pair.rewind(&three.conninfo(), &[]));
    let files = kept(&pair);
    assert!(files.len() == 2 && files.contains(&first), "{files:?}");
    for file in &files {
        let told = fs::read_to_string(file).expect("a report");
        assert_eq!(told.contains("only on one"), *file == first, "{told}");
        assert_eq!(told.contains("only on two"), *file != first, "{told}");
    }
}
