//! What a log does not tell of the catalogue is told as it is at the log's end.

use super::common::Node;
use sql_session::{CATALOGUE_TREES, EntryChange, EntryValue, Named, NamedRows};
use std::collections::BTreeMap;
use storage::{Direction, Isolation, KeyRange};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

async fn entries(node: &Node) -> [Pairs; 2] {
    let mut transaction = node.engine.database().begin(Isolation::ReadCommitted);
    transaction.begin_statement().await.unwrap();
    let mut all = [Pairs::new(), Pairs::new()];
    for (tree, pairs) in CATALOGUE_TREES.into_iter().zip(&mut all) {
        let mut scan = transaction.scan(tree, KeyRange::all(), Direction::Forward);
        let mut found = Vec::new();
        while scan.next_batch(&transaction, 100, &mut found).await.unwrap() {}
        pairs.extend(found.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
    all
}

/// The names of the first table before and after what was taken in.
fn names(rows: &NamedRows) -> [String; 2] {
    let of = |tree| match rows.tree(tree) {
        Named::Table { before, after, .. } => Some([before.name.clone(), after.name.clone()]),
        _ => None,
    };
    (16384..17000).find_map(|number| of(storage::TreeId::new(5, number))).unwrap()
}

/// The catalogue with a table a, and once that is named b.
async fn before_and_after_a_rename() -> [[Pairs; 2]; 2] {
    let node = Node::new().await;
    let mut client = node.client().await;
    client.run("CREATE TABLE a (id int PRIMARY KEY)").await;
    let before = entries(&node).await;
    client.run("ALTER TABLE a RENAME TO b").await;
    [before, entries(&node).await]
}

#[tokio::test]
async fn an_entry_that_a_commit_changes_in_a_way_that_is_not_known_is_as_at_the_end() {
    let [before, end] = before_and_after_a_rename().await;
    let tree = CATALOGUE_TREES[1];
    let (key, renamed) = end[1].iter().find(|entry| !before[1].contains(entry) && entry.0[0] == 1).unwrap();
    let rows = NamedRows::new(before, end.clone()).unwrap();
    assert_eq!(names(&rows), ["a", "a"]);
    let new = [EntryValue::Is(renamed), EntryValue::Unknown].map(|new| (Some(key.as_slice()), new));
    for (key, new) in [new[0], new[1], (None, EntryValue::Unknown)] {
        let mut rows = rows.clone();
        rows.take_in([EntryChange { tree, key, new }].into_iter());
        assert_eq!(names(&rows), ["a", "b"], "{key:?}, {new:?}");
        rows.take_in(std::iter::empty());
        assert_eq!(names(&rows), ["b", "b"]);
    }
}

#[tokio::test]
async fn entries_that_make_no_catalogue_are_told_as_at_the_end() {
    let [before, end] = before_and_after_a_rename().await;
    // A primary key of a column that is not there.
    let column = before[1].iter().map(|(key, _)| key.clone()).find(|key| key[0] == 2).unwrap();
    let mut rows = NamedRows::new(before, end).unwrap();
    let tree = CATALOGUE_TREES[1];
    rows.take_in([EntryChange { tree, key: Some(&column), new: EntryValue::None }].into_iter());
    assert_eq!(names(&rows), ["a", "b"]);
}

/// Whether the names of each table are certain, by the name that it has after what was taken in.
fn are_certain(rows: &NamedRows) -> BTreeMap<String, bool> {
    let of = |tree| match rows.tree(tree) {
        Named::Table { after, names_unknown, .. } => Some((after.name.clone(), !names_unknown)),
        _ => None,
    };
    (16384..17000).filter_map(|number| of(storage::TreeId::new(5, number))).collect()
}

#[tokio::test]
async fn names_are_certain_behind_an_unknown_change_only_if_they_were_the_same_before_it() {
    let node = Node::new().await;
    let mut client = node.client().await;
    for name in ["same", "renamed", "columned", "typed", "added", "emptied", "gone"] {
        client.run(&format!("CREATE TABLE {name} (id int PRIMARY KEY, v varchar(7))")).await;
    }
    let before = entries(&node).await;
    for change in [
        "ALTER TABLE renamed RENAME TO another",
        "ALTER TABLE columned RENAME COLUMN v TO w",
        "ALTER TABLE typed ALTER COLUMN v TYPE text",
        "ALTER TABLE added ADD COLUMN w int",
        "TRUNCATE emptied",
        "DROP TABLE gone",
        "CREATE TABLE new (id int PRIMARY KEY)",
    ] {
        client.run(change).await;
    }
    let end = entries(&node).await;
    let tree = CATALOGUE_TREES[1];
    let expected = |certain: &[&str], other: &[&str]| -> BTreeMap<String, bool> {
        let all = certain.iter().map(|name| (*name, true)).chain(other.iter().map(|name| (*name, false)));
        all.map(|(name, is)| (name.to_owned(), is)).collect()
    };
    let mut rows = NamedRows::new(before.clone(), end.clone()).unwrap();
    rows.take_in(std::iter::empty());
    assert!(are_certain(&rows).values().all(|is| *is), "nothing is unknown yet");

    let sequence = [0xF0, 0, 0, 0, 1, 0, 0, 0, 1];
    let position = EntryChange { tree, key: Some(&sequence), new: EntryValue::Unknown };
    rows.take_in([position].into_iter());
    assert!(are_certain(&rows).values().all(|is| *is), "a sequence's position names no table");

    rows.take_in([EntryChange { tree, key: None, new: EntryValue::Unknown }].into_iter());
    let others = ["another", "columned", "typed", "added", "gone", "new"];
    assert_eq!(are_certain(&rows), expected(&["same", "emptied"], &others));
    rows.take_in(std::iter::empty());
    assert_eq!(are_certain(&rows), expected(&["same", "emptied"], &others), "nor is it later");

    let (key, _) = before[1].iter().find(|entry| !end[1].contains(entry)).unwrap();
    let mut rows = NamedRows::new(before.clone(), end.clone()).unwrap();
    rows.take_in([EntryChange { tree, key: Some(key), new: EntryValue::Unknown }].into_iter());
    assert!(are_certain(&rows).values().any(|is| !*is), "the value is not known");
}
