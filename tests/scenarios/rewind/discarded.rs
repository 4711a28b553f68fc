//! What a rewind discards is told, kept, and can be made SQL of.

use super::{Pair, is_ok};
use scenarios::{plimsoll, run_ok};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// The lines of JSON, without the first, which names the discard.
fn commits(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let lines: Vec<Value> = lines.collect();
    assert!(lines[0].get("discarded").is_some(), "{}", lines[0]);
    lines[1..].to_vec()
}

/// The file in which a node has kept what its rewind discarded.
fn kept(pair: &Pair) -> PathBuf {
    let folder = pair.one.data().join("plimsoll");
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    names.into_iter().find(|path| path.extension().is_some_and(|end| end == "json")).expect("a file")
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
    ] {
        pair.one.sql(statement);
    }
    pair.promote();
    pair.two.sql("INSERT INTO told VALUES (7, 'not mine', NULL)");
    pair.one.kill_9();

    let told = pair.rewind(&pair.two.conninfo(), &["--dry-run", "--json"]);
    is_ok(&told);
    let commits = commits(&told.stdout);
    assert_eq!(commits.len(), 6, "{}", told.stdout.chars().take(4000).collect::<String>());
    let row = |id: &str, v: &str, n: Value| json!({"id": id, "v": v, "n": n, "more": null});
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

    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    pair.one.start();
    pair.one.wait_for("SELECT count(*) FROM told WHERE id = 7", "1");
    pair.one.stop();
    let file = kept(&pair);
    let lines = fs::read_to_string(&file).expect("the file stays");
    assert_eq!(super::discarded::commits(&lines), commits);
    let ledger = fs::read_to_string(pair.one.data().join("plimsoll/ledger")).expect("a ledger");
    assert!(ledger.contains(" discarded ") && ledger.contains("6 commits"), "{ledger}");

    // A person takes two of them over.
    let sql = run_ok(plimsoll().args(["rewind", "--replay"]).arg(&file));
    let of = |what: &str| sql.lines().find(|line| line.contains(what)).expect("a statement").to_owned();
    pair.two.sql("ALTER TABLE told ADD COLUMN more int");
    pair.two.sql(&of("INSERT INTO \"told\""));
    pair.two.sql(&of("\"v\" = 'one'"));
    assert_eq!(pair.two.sql("SELECT v FROM told WHERE id IN (1, 5) ORDER BY id"), "here\nit's");
    pair.two.sql("UPDATE told SET v = 'meanwhile' WHERE id = 2");
    pair.two.sql(&of("\"v\" = 'changed before'"));
    assert_eq!(pair.two.sql("SELECT v FROM told WHERE id = 2"), "meanwhile", "only what is as it was");
}
