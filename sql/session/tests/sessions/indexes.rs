//! Secondary indexes: what they refuse, what they find, and that they say the same as the table.

use crate::common::{Client, Node};
use std::collections::BTreeMap;

#[tokio::test]
async fn a_duplicate_names_its_constraint_its_table_and_its_key() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, \"A b\" int, c text, unique (\"A b\", c))").await;
    c.run("insert into t values (1, 7, 'x')").await;
    let error = c.error("insert into t values (2, 7, 'x')").await;
    let fields = error.fields();
    assert_eq!(error.code().as_str(), "23505");
    assert_eq!(error.message(), "duplicate key value violates unique constraint \"t_A b_c_key\"");
    assert_eq!(fields.detail.as_deref(), Some("Key (\"A b\", c)=(7, x) already exists."));
    assert_eq!(
        (fields.schema.as_deref(), fields.table.as_deref(), fields.constraint.as_deref()),
        (Some("public"), Some("t"), Some("t_A b_c_key"))
    );
    c.run("insert into t values (2, 8, 'x')").await;
    c.run("create table u (a int); insert into u values (1), (1)").await;
    let error = c.error("create unique index u_a on u (a)").await;
    assert_eq!(error.message(), "could not create unique index \"u_a\"");
    assert_eq!(error.fields().detail.as_deref(), Some("Key (a)=(1) is duplicated."));
}

#[tokio::test]
async fn plans_go_through_an_index_where_its_first_columns_are_bound_or_few_rows_are_wanted() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, a int, b text, c int unique)").await;
    c.run("create index t_ab on t (a, b desc)").await;
    for (sql, plan) in [
        ("select * from t where a = 1", "Index Scan using t_ab on t"),
        ("select * from t where a = 1 and b > 'x'", "Index Scan using t_ab on t"),
        ("select * from t where a in (1, 2)", "Index Scan using t_ab on t"),
        ("select * from t where b = 'x'", "Seq Scan on t"),
        ("select * from t where c = 5 and a = 3", "Index Scan using t_c_key on t"),
        ("select * from t where id = 5 and c = 3", "Index Scan using t_pkey on t"),
        ("select * from t where a = 1 order by b desc", "Index Scan using t_ab on t"),
        ("select * from t where a = 1 order by b", "Index Scan Backward using t_ab on t"),
        ("select * from t where a = 1 order by b nulls first", "Sort;  ->  Index Scan using t_ab on t"),
        ("select * from t order by a", "Sort;  ->  Seq Scan on t"),
        ("select * from t order by a limit 3", "Limit;  ->  Index Scan using t_ab on t"),
        ("select * from t order by a desc limit 3", "Limit;  ->  Index Scan Backward using t_ab on t"),
        ("update t set a = 2 where c = 4", "Update on t;  ->  Index Scan using t_c_key on t"),
    ] {
        assert_eq!(c.operators(sql).await, plan, "{sql}");
    }
}

#[tokio::test]
async fn who_comes_second_waits_for_the_first_and_has_its_key_only_if_that_goes() {
    let node = Node::new().await;
    let (mut first, mut second) = (node.client().await, node.client().await);
    first.run("create table t (id int primary key, u int unique)").await;
    for (outcome, code) in [("rollback", None), ("commit", Some("23505"))] {
        first.run("truncate t; begin; insert into t values (1, 5)").await;
        let waiting = tokio::spawn(async move {
            let result = second.try_run("insert into t values (2, 5)").await;
            (second, result)
        });
        // However often it gets its turn, it does not come to an end.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        first.run(outcome).await;
        let (back, result) = waiting.await.unwrap();
        second = back;
        assert_eq!(result.err().map(|error| error.code().to_string()).as_deref(), code, "{outcome}");
    }
    // A key that an open transaction gives up is not free yet.
    first.run("truncate t; insert into t values (1, 5); begin; update t set u = 6").await;
    let waiting = tokio::spawn(async move {
        let result = second.try_run("insert into t values (2, 5)").await;
        (second, result)
    });
    first.run("rollback").await;
    let (_, result) = waiting.await.unwrap();
    assert_eq!(result.unwrap_err().code().as_str(), "23505");
}

#[tokio::test]
async fn a_transaction_with_an_old_snapshot_must_not_write_past_a_new_index() {
    let node = Node::new().await;
    let (mut old, mut other) = (node.client().await, node.client().await);
    other.run("create table t (id int primary key, a int); create table x (a int)").await;
    old.run("begin isolation level repeatable read; select * from x").await;
    other.run("create index on t (a)").await;
    assert_eq!(old.error("insert into t values (1, 1)").await.code().as_str(), "40001");
    old.run("rollback; begin isolation level repeatable read; insert into t values (1, 1); commit").await;
    assert_eq!(other.text("select id from t where a = 1").await, "1");
}

#[tokio::test]
async fn a_snapshot_finds_in_an_index_what_it_finds_in_the_table() {
    let node = Node::new().await;
    let (mut reader, mut writer) = (node.client().await, node.client().await);
    writer.run("create table t (id int primary key, a int, u int unique)").await;
    writer.run("create index on t (a); insert into t select g, g % 3, g from generate_series(1, 9) g").await;
    reader.run("begin isolation level repeatable read; select 1 from t").await;
    writer.run("update t set a = 1 where a = 2; delete from t where id = 4; update t set u = u + 100").await;
    writer.run("insert into t values (20, 2, 5)").await;
    assert_eq!(reader.text("select id from t where a = 2 order by id").await, "2;5;8");
    assert_eq!(reader.text("select id from t where a = 1 order by id").await, "1;4;7");
    assert_eq!(reader.text("select id from t where u = 5").await, "5");
    assert_eq!(writer.text("select id from t where u = 5").await, "20");
    assert_eq!(writer.text("select id from t where a = 1 order by id").await, "1;2;5;7;8");
    reader.run("rollback").await;
}

#[tokio::test]
async fn entries_outlive_a_crash_with_their_rows() {
    let mut node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int, a int, u int unique); create index t_a on t (a)").await;
    c.run("insert into t select g, g % 5, g from generate_series(1, 100) g; delete from t where id > 90")
        .await;
    c.run("begin; insert into t values (1000, 1, 1000)").await;
    drop(c);
    node = node.crash().await;
    let mut c = node.client().await;
    assert_eq!(c.text("select count(*), max(id) from t where a = 1").await, "18|86");
    assert_eq!(c.error("insert into t values (1, 1, 50)").await.code().as_str(), "23505");
    c.run("insert into t values (1, 1, 95), (2, 1, 1000)").await;
}

#[tokio::test]
async fn rows_that_fill_the_write_set_alone_get_their_entries_and_lose_them() {
    let node = Node::new().await;
    node.engine.database().set_write_set_limit(64 << 10);
    let mut c = node.client().await;
    for (key, moves) in [("primary key", true), ("", false)] {
        c.run(&format!("drop table if exists t; create table t (id int {key}, a int, b int unique, v text)"))
            .await;
        c.run("create index on t (a); create index on t (a, b)").await;
        let row = "g, g, g, repeat('x', 300000)";
        c.run(&format!("insert into t select {row} from generate_series(1, 5) g")).await;
        c.run(&format!("begin; insert into t select {row} from generate_series(6, 10) g")).await;
        c.run("insert into t values (11, 11, 11, repeat('y', 300000)); commit").await;
        c.run("update t set a = a + 100, v = v || 'z'").await;
        c.run("insert into t values (50, 7, 7, repeat('z', 300000)) on conflict (b) do update set a = 200, v = excluded.v")
            .await;
        if moves {
            c.run("update t set id = id + 1000 where a > 108").await;
        }
        c.run("begin; update t set v = v || 'z' where a = 103; delete from t where a between 103 and 105; commit").await;
        let by_index = "select b, a, length(v) from t where a > 0 order by a";
        assert!(c.text(&format!("explain {by_index}")).await.contains("Index Scan"));
        let others = "6|106|300001;8|108|300001;9|109|300001;10|110|300001;11|111|300001;7|200|300000";
        assert_eq!(c.text(by_index).await, format!("1|101|300001;2|102|300001;{others}"), "{key}");
        assert_eq!(c.text("select count(*) from t").await, "8");
    }
}

/// A row of the model: id to (a, b, u).
type Model = BTreeMap<i32, (Option<i32>, Option<i32>, Option<i32>)>;

/// Each index says the same as the table, and as the model.
async fn compare(c: &mut Client, model: &Model, seed: u64) {
    let shown = |value: Option<i32>| value.map_or("-".to_owned(), |value| value.to_string());
    let all: Vec<String> = model
        .iter()
        .map(|(id, (a, b, u))| format!("{id}|{}|{}|{}", shown(*a), shown(*b), shown(*u)))
        .collect();
    assert_eq!(c.text("select * from t order by id").await, all.join(";"), "seed {seed}");
    for value in 0..6 {
        for (column, pick) in [("a", 0), ("b", 1), ("u", 2)] {
            let of = |row: &(Option<i32>, Option<i32>, Option<i32>)| [row.0, row.1, row.2][pick];
            let ids = |keep: &dyn Fn(i32) -> bool| -> String {
                let kept = model.iter().filter(|(_, row)| of(row).is_some_and(keep));
                kept.map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(";")
            };
            for (operator, expected) in [
                ("=", ids(&|found| found == value)),
                (">", ids(&|found| found > value)),
                ("<=", ids(&|found| found <= value)),
            ] {
                let sql = format!("select id from t where {column} {operator} {value} order by id");
                assert!(c.text(&format!("explain {sql}")).await.contains("Index Scan"), "{sql}");
                assert_eq!(c.text(&sql).await, expected, "seed {seed}: {sql}");
            }
        }
    }
    let mut by_b: Vec<(Option<i32>, i32)> = model.iter().map(|(id, row)| (row.1, *id)).collect();
    by_b.sort_by_key(|(b, _)| std::cmp::Reverse(*b));
    let expected: Vec<String> = by_b.iter().map(|(b, _)| shown(*b)).collect();
    let sql = "select b from t order by b desc nulls last limit 1000";
    assert_eq!(c.text(sql).await, expected.join(";"), "seed {seed}: {sql}");
}

#[tokio::test]
async fn random_changes_leave_indexes_and_table_alike() {
    let seed = std::env::var("PLIMSOLL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_727);
    let mut random = fastrand::Rng::with_seed(seed);
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, a int, b int, u int unique)").await;
    c.run("create index on t (a, b); create index on t (b desc nulls last)").await;
    let mut model = Model::new();
    for round in 0..40 {
        let before = model.clone();
        c.run("begin").await;
        for _ in 0..random.usize(1..6) {
            change(&mut c, &mut random, &mut model, seed).await;
        }
        if round % 5 == 0 {
            compare(&mut c, &model, seed).await;
        }
        if random.u8(0..4) == 0 {
            c.run("rollback").await;
            model = before;
        } else {
            c.run("commit").await;
        }
        compare(&mut c, &model, seed).await;
    }
    c.run("reindex table t").await;
    compare(&mut c, &model, seed).await;
}

/// One statement, on the table and on the model.
async fn change(c: &mut Client, random: &mut fastrand::Rng, model: &mut Model, seed: u64) {
    let value = |random: &mut fastrand::Rng| Some(random.i32(0..6)).filter(|value| *value < 5);
    let sql_of = |value: Option<i32>| value.map_or("null".to_owned(), |value| value.to_string());
    let (id, row) = (random.i32(0..12), (value(random), value(random), value(random)));
    let taken = |model: &Model, id: i32, u: Option<i32>| {
        u.is_some() && model.iter().any(|(other, row)| *other != id && row.2 == u)
    };
    let values = format!("{}, {}, {}", sql_of(row.0), sql_of(row.1), sql_of(row.2));
    let (sql, refused) = match random.u8(0..6) {
        0 | 1 => {
            let refused = model.contains_key(&id) || taken(model, id, row.2);
            if !refused {
                model.insert(id, row);
            }
            (format!("insert into t values ({id}, {values})"), refused)
        }
        2 => {
            // An update of one row: all its columns, or only the one that no index has to know of.
            let refused = model.contains_key(&id) && taken(model, id, row.2);
            if !refused && let Some(old) = model.get_mut(&id) {
                *old = row;
            }
            (format!("update t set (a, b, u) = ({values}) where id = {id}"), refused)
        }
        3 => {
            let to = 100 + random.i32(0..12);
            let refused = model.contains_key(&id) && model.contains_key(&to);
            if !refused && let Some(old) = model.remove(&id) {
                model.insert(to, old);
            }
            (format!("update t set id = {to} where id = {id}"), refused)
        }
        4 => {
            model.retain(|_, old| old.0.is_none() || old.0 != row.0);
            (format!("delete from t where a = {}", sql_of(row.0)), false)
        }
        _ => {
            let in_the_way =
                model.iter().find(|(_, old)| row.2.is_some() && old.2 == row.2).map(|(id, _)| *id);
            let refused = in_the_way.is_none() && model.contains_key(&id);
            match in_the_way {
                Some(other) => {
                    if let Some(old) = model.get_mut(&other) {
                        old.0 = row.0;
                    }
                }
                None if refused => {}
                None => {
                    model.insert(id, row);
                }
            }
            (
                format!("insert into t values ({id}, {values}) on conflict (u) do update set a = excluded.a"),
                refused,
            )
        }
    };
    c.run("savepoint s").await;
    match c.try_run(&sql).await {
        Ok(_) => {
            assert!(!refused, "seed {seed}: {sql} should have failed");
            c.run("release s").await;
        }
        Err(error) => {
            assert!(refused && error.code().as_str() == "23505", "seed {seed}: {sql}: {error}");
            c.run("rollback to s; release s").await;
        }
    }
}
