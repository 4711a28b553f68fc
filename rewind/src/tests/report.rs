//! What the report of a discard calls the objects that its commits change: as each commit knew them.

use super::{copy_one, create_one, host_on, promote_copy, to_two};
use crate::{Need, Report, Rewind};
use serde_json::{Value, json};
use simulation::VirtualDisk;
use sql_catalogue::{BOOTSTRAP_ROLE_OID, Column, Layout, PrimaryKey, Relation, store};
use sql_types::{Datum, Type, TypeId};
use storage::{CheckpointKind, Database, Isolation, LockMode, LockWait, SyncLevel, Transaction};

/// A table (id int4 PRIMARY KEY, v text).
async fn table(db: &Database, name: &str, oid: u32) -> Relation {
    let mut transaction = begin(db).await;
    let relation = create_table(&mut transaction, name, oid, Some(primary_key(name, oid))).await;
    commit(transaction).await;
    relation
}

fn primary_key(table: &str, oid: u32) -> PrimaryKey {
    PrimaryKey { oid: oid + 1, name: format!("{table}_pkey"), columns: vec![0] }
}

async fn create_table(
    transaction: &mut Transaction,
    name: &str,
    oid: u32,
    primary_key: Option<PrimaryKey>,
) -> Relation {
    let tree = transaction.create_tree(5).await.unwrap();
    let column = |number, name: &str, id| Column {
        number,
        name: name.to_owned(),
        ty: Type { id, modifier: -1 },
        not_null: false,
        default: None,
        missing: None,
        identity: None,
        dropped: false,
    };
    let mut relation = Relation {
        oid,
        name: name.to_owned(),
        owner: BOOTSTRAP_ROLE_OID,
        tree,
        columns: vec![column(1, "id", TypeId::Int4), column(2, "v", TypeId::Text)],
        primary_key,
        checks: Vec::new(),
        indexes: Vec::new(),
        layout: Layout::new(&[], None),
    };
    relation.lay_out();
    store::create_relation(transaction, &relation).await.unwrap();
    relation
}

async fn begin(db: &Database) -> Transaction {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await.unwrap();
    transaction
}

async fn commit(transaction: Transaction) {
    transaction.commit(SyncLevel::Local).await.unwrap();
}

/// Writes row 1 of a table, all columns but the first.
async fn put(transaction: &mut Transaction, table: &Relation, values: &[Datum]) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    sql_types::key::encode_all(&table.layout.key, &[Datum::Int4(1)], &mut key).unwrap();
    table.layout.row.encode(values, &mut value).unwrap();
    transaction.lock(table.tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
    transaction.put(table.tree, key, value).unwrap();
}

async fn put_alone(db: &Database, table: &Relation, values: &[Datum]) {
    let mut transaction = begin(db).await;
    put(&mut transaction, table, values).await;
    commit(transaction).await;
}

/// As ALTER TABLE RENAME does it.
async fn rename(transaction: &mut Transaction, table: &Relation, name: &str) -> Relation {
    store::lock_relation_name(transaction, name).await.unwrap();
    store::delete_name(transaction, &table.name).await.unwrap();
    let renamed = Relation { name: name.to_owned(), ..table.clone() };
    store::put_relation(transaction, &renamed).await.unwrap();
    renamed
}

/// As TRUNCATE does it, and with another primary key, ADD PRIMARY KEY.
async fn move_to_a_new_tree(
    transaction: &mut Transaction,
    table: &Relation,
    primary_key: Option<PrimaryKey>,
) -> Relation {
    let tree = transaction.create_tree(5).await.unwrap();
    let mut moved = Relation { tree, primary_key, ..table.clone() };
    moved.lay_out();
    store::put_relation(transaction, &moved).await.unwrap();
    transaction.drop_tree(table.tree).unwrap();
    moved
}

/// Changes the second column.
async fn alter(
    transaction: &mut Transaction,
    table: &Relation,
    change: impl FnOnce(&mut Column),
) -> Relation {
    let mut altered = table.clone();
    change(&mut altered.columns[1]);
    altered.lay_out();
    store::put_column(transaction, table.oid, &altered.columns[1]).await.unwrap();
    altered
}

/// As ALTER TABLE DROP COLUMN leaves a column.
fn dropped(column: &mut Column) {
    column.name = "........pg.dropped.2........".to_owned();
    column.dropped = true;
}

/// /one with this in front of the fork.
async fn ground() -> (VirtualDisk, Database, Relation) {
    let disk = VirtualDisk::new();
    let one = create_one(&disk);
    sql_catalogue::bootstrap(&one, "postgres", None).await.unwrap();
    let old = table(&one, "old", 20_000).await;
    put_alone(&one, &old, &[Datum::text("common")]).await;
    one.checkpoint(CheckpointKind::Immediate).await.unwrap();
    copy_one(&disk, "/two");
    promote_copy(&disk, "/two").await;
    (disk, one, old)
}

/// The commits of the report that a rewind of /one to /two makes.
async fn commits(disk: &VirtualDisk) -> Vec<Value> {
    let rewind = Rewind::prepare(&host_on(disk), to_two()).await.unwrap();
    let Need::Diverged(divergence) = rewind.need() else { panic!("they have diverged") };
    let mut lines = Vec::new();
    let report = Report::new(&rewind, divergence).unwrap();
    report
        .lines(&mut |line| {
            lines.push(line.clone());
            Ok(())
        })
        .unwrap();
    lines.split_off(1)
}

fn row(v: &str) -> Value {
    json!({"id": "1", "v": v})
}

fn change(table: &str, op: &str, old: Value, new: Value) -> Value {
    json!([{"table": table, "op": op, "key": {"id": "1"}, "old": old, "new": new}])
}

#[tokio::test]
async fn rows_of_a_table_that_goes_again_are_told_by_its_name() {
    let (disk, one, _) = ground().await;
    let short = table(&one, "short", 21_000).await;
    put_alone(&one, &short, &[Datum::text("precious")]).await;
    let mut transaction = begin(&one).await;
    store::drop_relation(&mut transaction, &short).await.unwrap();
    transaction.drop_tree(short.tree).unwrap();
    commit(transaction).await;
    drop(one);
    let commits = commits(&disk).await;
    assert_eq!(commits[1]["changes"], change("short", "insert", Value::Null, row("precious")));
    assert_eq!(commits[1]["tables"], json!(["short"]));
    let dropped = commits[2]["catalogue"].as_array().unwrap();
    for text in ["dropped table short", "dropped column short.v", "dropped constraint of table short"] {
        assert!(dropped.contains(&json!(text)), "{text}: {dropped:?}");
    }
}

#[tokio::test]
async fn rows_have_the_names_of_their_time_and_a_rename_is_told() {
    let (disk, one, old) = ground().await;
    put_alone(&one, &old, &[Datum::text("a")]).await;
    let mut transaction = begin(&one).await;
    let named = rename(&mut transaction, &old, "named").await;
    commit(transaction).await;
    let mut transaction = begin(&one).await;
    let named = alter(&mut transaction, &named, |column| column.name = "w".to_owned()).await;
    put(&mut transaction, &named, &[Datum::text("b")]).await;
    commit(transaction).await;
    put_alone(&one, &named, &[Datum::text("c")]).await;
    drop(one);
    let commits = commits(&disk).await;
    let w = |value: &str| json!({"id": "1", "w": value});
    assert_eq!(commits[0]["changes"], change("old", "update", row("common"), row("a")));
    assert_eq!(commits[1]["catalogue"], json!(["renamed table old to named"]));
    assert_eq!(commits[2]["catalogue"], json!(["renamed column named.v to w"]));
    assert_eq!(commits[2]["changes"], change("named", "update", row("a"), w("b")), "before, and after");
    assert_eq!(commits[3]["changes"], change("named", "update", w("b"), w("c")));
}

/// Without page images a rename is logged as like the entry below it, and may be of any entry of its page.
#[tokio::test]
async fn a_table_that_may_have_been_renamed_is_told_with_names_unknown() {
    let (disk, one, old) = ground().await;
    let two = super::open(&disk, "/two");
    table(&two, "theirs", 21_000).await;
    two.shutdown().await.unwrap();
    drop(two);
    one.set_full_page_writes(false).unwrap();
    let mut transaction = begin(&one).await;
    let named = rename(&mut transaction, &old, "named").await;
    commit(transaction).await;
    put_alone(&one, &named, &[Datum::text("a")]).await;
    let mut transaction = begin(&one).await;
    let last = rename(&mut transaction, &named, "last").await;
    commit(transaction).await;
    put_alone(&one, &last, &[Datum::text("b")]).await;
    one.checkpoint(CheckpointKind::Immediate).await.unwrap();
    drop(one);
    let commits = commits(&disk).await;
    for commit in [&commits[1], &commits[3]] {
        let change = &commit["changes"][0];
        assert_eq!([&change["table"], &change["names_unknown"]], [&json!("last"), &json!(true)], "{commit}");
    }
}

#[tokio::test]
async fn a_column_is_told_till_the_commit_that_drops_it() {
    let (disk, one, old) = ground().await;
    put_alone(&one, &old, &[Datum::text("a")]).await;
    let mut transaction = begin(&one).await;
    let altered = alter(&mut transaction, &old, dropped).await;
    put(&mut transaction, &altered, &[Datum::Null]).await;
    commit(transaction).await;
    let mut transaction = begin(&one).await;
    store::drop_relation(&mut transaction, &altered).await.unwrap();
    commit(transaction).await;
    drop(one);
    let commits = commits(&disk).await;
    assert_eq!(commits[0]["changes"], change("old", "update", row("common"), row("a")));
    assert_eq!(commits[1]["catalogue"], json!(["dropped column old.v"]));
    assert_eq!(commits[1]["changes"], change("old", "update", row("a"), json!({"id": "1"})));
    let gone = commits[2]["catalogue"].to_string();
    assert!(gone.contains("dropped column old.id") && !gone.contains("pg.dropped"), "{gone}");
}

/// Its rows went into pages before.
#[tokio::test]
async fn rows_that_a_large_transaction_wrote_into_a_tree_that_it_dropped_are_not_told() {
    let (disk, one, old) = ground().await;
    one.set_write_set_limit(1);
    let mut transaction = begin(&one).await;
    put(&mut transaction, &old, &[Datum::text("undone")]).await;
    transaction.make_room().await.unwrap();
    let emptied = move_to_a_new_tree(&mut transaction, &old, old.primary_key.clone()).await;
    put(&mut transaction, &emptied, &[Datum::text("new")]).await;
    commit(transaction).await;

    let mut transaction = begin(&one).await;
    let short = create_table(&mut transaction, "short", 21_000, Some(primary_key("short", 21_000))).await;
    put(&mut transaction, &short, &[Datum::text("undone")]).await;
    put(&mut transaction, &emptied, &[Datum::text("undone")]).await;
    transaction.make_room().await.unwrap();
    for table in [&short, &emptied] {
        store::drop_relation(&mut transaction, table).await.unwrap();
        transaction.drop_tree(table.tree).unwrap();
    }
    commit(transaction).await;
    drop(one);
    let commits = commits(&disk).await;
    assert_eq!(commits[0]["changes"], change("old", "insert", Value::Null, row("new")));
    assert_eq!(commits[0]["catalogue"], json!(["emptied table old (TRUNCATE)"]));
    assert_eq!(commits[0]["tables"], json!(["old"]));
    assert_eq!([&commits[1]["changes"], &commits[1]["tables"]], [&json!([]), &json!([])]);
}

#[tokio::test]
async fn a_table_that_gets_a_primary_key_is_told_as_rewritten_and_its_rows_as_no_new_ones() {
    let (disk, one, _) = ground().await;
    let mut transaction = begin(&one).await;
    let heap = create_table(&mut transaction, "heap", 21_000, None).await;
    let mut value = Vec::new();
    heap.layout.row.encode(&[Datum::Int4(1), Datum::text("a")], &mut value).unwrap();
    transaction.append(heap.tree, value).await.unwrap();
    commit(transaction).await;
    let mut transaction = begin(&one).await;
    let key = primary_key("heap", 21_000);
    let keyed = move_to_a_new_tree(&mut transaction, &heap, Some(key.clone())).await;
    store::put_primary_key(&mut transaction, keyed.oid, &key, &keyed.columns).await.unwrap();
    put(&mut transaction, &keyed, &[Datum::text("a")]).await;
    commit(transaction).await;
    let mut transaction = begin(&one).await;
    move_to_a_new_tree(&mut transaction, &keyed, keyed.primary_key.clone()).await;
    commit(transaction).await;
    drop(one);
    let commits = commits(&disk).await;
    let change = |op: &str, key: Value, old: (&str, Value)| json!([{"table": "heap", "op": op, "key": key, old.0: old.1, "new": row("a")}]);
    assert_eq!(commits[0]["changes"], change("insert", json!({}), ("old", Value::Null)));
    assert_eq!(commits[1]["changes"], change("rewrite", json!({"id": "1"}), ("old_unknown", true.into())));
    assert_eq!(commits[1]["tables"], json!(["heap"]));
    assert_eq!(
        commits[1]["catalogue"],
        json!(["rewrote table heap", "created constraint of table heap"]),
        "it was not emptied"
    );
    assert_eq!(commits[2]["catalogue"], json!(["emptied table heap (TRUNCATE)"]));
}

/// The state of a sequence changes with each of its numbers.
#[tokio::test]
async fn a_sequences_position_is_told_by_its_name() {
    let (disk, one, _) = ground().await;
    let tree = sql_catalogue::codec::CATALOGUE_TREE;
    let mut transaction = begin(&one).await;
    let key = [&[0xF0][..], &20_000_u32.to_be_bytes(), &1_u32.to_be_bytes()].concat();
    transaction.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
    transaction.put(tree, key, [&7_i64.to_le_bytes()[..], &[1]].concat()).unwrap();
    commit(transaction).await;
    drop(one);
    assert_eq!(commits(&disk).await[0]["catalogue"], json!(["sequence old at 7"]));
}
