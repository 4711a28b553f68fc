//! Statements that nest deep: what PostgreSQL carries out is carried out, what is too deep is an error, and
//! nothing ends the process.

use crate::common::{Client, Collected, Node, Rows};
use sql_interface::Fetch;
use sql_session::StatementClass;

/// What is repeated around a text.
fn around(before: &str, open: &str, count: usize, middle: &str, close: &str, after: &str) -> String {
    [before, &open.repeat(count), middle, &close.repeat(count), after].concat()
}

async fn too_deep(client: &mut Client, sql: &str) {
    let error = client.error(sql).await;
    let told = (error.code().to_string(), error.message().to_owned());
    assert_eq!(told, ("54001".into(), "stack depth limit exceeded".into()), "{}", &sql[..100]);
    assert_eq!(
        error.fields().hint.as_deref(),
        Some(
            "Increase the configuration parameter \"max_stack_depth\" (currently 2048kB), \
             after ensuring the platform's stack depth limit is adequate."
        )
    );
}

#[tokio::test]
async fn chains_of_and_and_or_are_as_long_as_their_text() {
    let node = Node::new().await;
    let mut c = node.client().await;
    for (sql, expected) in [
        (around("select true", " and true", 50_000, "", "", ""), "t"),
        (around("select x", " and x", 50_000, "", "", " from (select true x) t"), "t"),
        (around("select x = 1", " or x = 2", 20_000, "", "", " from (select 3 x) t"), "f"),
        (around("select count(*) from (select 1 x) t where x = 1", " and x > 0", 20_000, "", "", ""), "1"),
    ] {
        assert_eq!(c.text(&sql).await, expected, "{}", &sql[..60]);
    }
}

#[tokio::test]
async fn what_postgresql_carries_out_at_a_thousand_levels_is_carried_out() {
    let node = Node::new().await;
    let mut c = node.client().await;
    for (sql, expected) in [
        (around("select 1", "+1", 1000, "", "", ""), "1001"),
        (around("select x", "+x", 1000, "", "", " from (select 1 x) t"), "1001"),
        (around("select length('a'", "||'a'", 1000, "", "", ")"), "1001"),
        (around("select '1'", "::int", 1000, "", "", ""), "1"),
        (around("select ", "not ", 1000, "true", "", ""), "t"),
        (around("select ", "- ", 1000, "x", "", " from (select 1 x) t"), "1"),
        (around("select ", "(", 1000, "1", ")", ""), "1"),
        (around("select ", "abs(", 300, "x", ")", " from (select 1 x) t"), "1"),
        (around("", "select * from (", 100, "select 1", ") t", ""), "1"),
        (around("select count(*) from (select 1", " union all select 1", 1000, "", "", ") t"), "1001"),
        (around("select '{1}'::int", "[]", 90, "", "", ""), "{1}"),
    ] {
        assert_eq!(c.text(&sql).await, expected, "{}", &sql[..80]);
    }
    let joins: String = (0..300).map(|at| format!(" join (select 1 x) t{at} using (x)")).collect();
    assert_eq!(c.text(&format!("select x from (select 1 x) t{joins}")).await, "1");
    let explained = c.text(&format!("explain select x from (select 1 x) t{joins}")).await;
    assert_eq!(explained.matches("Hash Join").count(), 300);
}

#[tokio::test]
async fn what_nests_deeper_than_the_stack_is_refused_with_postgresqls_hint() {
    let node = Node::new().await;
    let mut c = node.client().await;
    for sql in [
        around("select 1", "+1", 34_000, "", "", ""),
        around("select 'a'", "||'a'", 50_000, "", "", ""),
        around("select '1'", "::int", 30_000, "", "", ""),
        around("select ", "(", 20_000, "1", ")", ""),
        around("select ", "(", 20_000, "", "", ""),
        around("select ", "case when true then ", 20_000, "1", " end", ""),
        around("", "select * from (", 20_000, "select 1", ") t", ""),
        around("select 1", " union all select 1", 50_000, "", "", ""),
    ] {
        too_deep(&mut c, &sql).await;
    }
    assert_eq!(c.text("select 1").await, "1");
}

#[tokio::test]
async fn max_stack_depth_says_how_deep_a_statement_may_nest() {
    let node = Node::new().await;
    let mut c = node.client().await;
    let sum = around("select 1", "+1", 1000, "", "", "");
    c.run("set max_stack_depth = '100kB'").await;
    assert_eq!(c.refused(&sum).await.0, "54001");
    c.run("set max_stack_depth = '2048kB'").await;
    assert_eq!(c.text(&sum).await, "1001");
}

#[tokio::test]
async fn statements_inside_statements_do_not_nest() {
    let node = Node::new().await;
    let mut c = node.client().await;
    for (sql, near) in [
        (around("", "explain ", 184, "select 1", "", ""), "explain"),
        (around("", "prepare p as ", 5000, "select 1", "", ""), "prepare"),
        ("declare c cursor for declare d cursor for select 1".into(), "declare"),
        ("explain begin".into(), "begin"),
        ("prepare p as execute q".into(), "execute"),
    ] {
        let expected = ("42601".to_owned(), format!("syntax error at or near \"{near}\""));
        assert_eq!(c.refused(&sql).await, expected, "{}", &sql[..20]);
    }
    assert_eq!(c.refused("explain execute p").await.0, "26000");
    assert_eq!(c.refused("explain explain execute p").await.0, "42601");
}

/// Opens a statement under a name, as Parse and Bind do.
async fn bind(client: &mut Client, portal: &str, sql: &str) {
    let prepared = client.session.prepare(sql, &[]).await.unwrap();
    let portal_of = client.session.open(prepared, Vec::new()).await.unwrap();
    client.session.keep_portal(portal.to_owned(), portal_of);
}

/// Runs a portal for at most so many rows (0: all), as Execute does: its rows and tag, or its SQLSTATE and
/// message.
async fn execute(client: &mut Client, name: &str, rows: usize) -> Result<(Rows, String), (String, String)> {
    let (key, mut portal) = client.session.take_to_run(name).unwrap();
    let mut out = Collected::default();
    let fetched = Box::pin(client.session.fetch(&mut portal, rows, &mut out)).await;
    client.session.keep_portal(key, portal);
    match fetched {
        Ok(Fetch::Complete(tag)) => Ok((out.rows, tag.to_string())),
        Ok(_) => Ok((out.rows, "suspended".to_owned())),
        Err(error) => Err((error.code().to_string(), error.message().to_owned())),
    }
}

fn exceeded() -> (String, String) {
    ("54001".into(), "stack depth limit exceeded".into())
}

#[tokio::test]
async fn an_execute_of_itself_is_too_deep_and_one_of_another_execute_is_not() {
    let node = Node::new().await;
    let mut c = node.client().await;
    // By Parse: PREPARE takes no EXECUTE.
    for (name, sql) in [("own", "execute own"), ("ping", "execute pong"), ("pong", "execute ping")] {
        let prepared = c.session.prepare(sql, &[]).await.unwrap();
        c.session.store(name, prepared).unwrap();
    }
    for name in ["own", "ping"] {
        assert_eq!(c.refused(&format!("execute {name}")).await, exceeded(), "{name}");
        let prepared = c.session.stored(name).unwrap();
        let error = c.session.open(prepared, Vec::new()).await.err().unwrap();
        assert_eq!((error.code().to_string(), error.message().to_owned()), exceeded(), "{name}");
        assert!(error.fields().hint.as_deref().unwrap().contains("max_stack_depth"));
        c.session.sync().await.unwrap();
    }
    c.run("prepare e0 (int) as select $1 + 1").await;
    for at in 1..=100 {
        let sql = if at == 1 { "execute e0 (41)".to_owned() } else { format!("execute e{}", at - 1) };
        let prepared = c.session.prepare(&sql, &[]).await.unwrap();
        c.session.store(&format!("e{at}"), prepared).unwrap();
    }
    assert_eq!(c.text("execute e100").await, "42");
    c.run("create table t (a int); prepare e0b as insert into t values (1)").await;
    for (name, sql) in [("e1b", "execute e0b"), ("e2b", "execute e1b")] {
        let prepared = c.session.prepare(sql, &[]).await.unwrap();
        c.session.store(name, prepared).unwrap();
    }
    for (name, class) in [("e2b", StatementClass::Change), ("own", StatementClass::Other)] {
        let prepared = c.session.stored(name).unwrap();
        assert_eq!(c.session.class_of_prepared(&prepared), class, "what the log says of {name}");
    }
    c.run("set max_stack_depth = '100kB'").await;
    assert_eq!(c.refused("execute e100").await, exceeded());
}

#[tokio::test]
async fn portals_that_fetch_from_one_another_end_where_the_stack_does() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("begin").await;
    bind(&mut c, "p0", "select g from generate_series(1, 10) g").await;
    for at in 1..=3000 {
        bind(&mut c, &format!("p{at}"), &format!("fetch 2 from p{}", at - 1)).await;
    }
    let rows = |values: &[&str]| -> Rows { values.iter().map(|one| vec![Some((*one).to_owned())]).collect() };
    assert_eq!(execute(&mut c, "p100", 0).await, Ok((rows(&["1", "2"]), "FETCH 2".to_owned())));
    // What p1 had to give is gone with that.
    assert_eq!(execute(&mut c, "p1", 0).await.map(|(rows, _)| rows), Ok(Rows::new()));
    assert_eq!(execute(&mut c, "p3000", 0).await, Err(exceeded()));
    assert_eq!(c.error("select 1").await.code().to_string(), "25P02");
    c.run("rollback").await;
    assert_eq!(c.text("select 1").await, "1");
}

#[tokio::test]
async fn a_portal_fetches_neither_from_itself_nor_from_what_gives_no_rows() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (a int)").await;
    let cannot = |name: &str| Err(("55000".to_owned(), format!("portal \"{name}\" cannot be run")));
    let no_rows = Err(("XX000".to_owned(), "unsupported portal strategy".to_owned()));
    for (first, second, expected) in [
        ("fetch 1 from p1", "select 1", cannot("p1")),
        ("fetch 1 from p2", "fetch 1 from p1", cannot("p1")),
        ("fetch 1 from p2", "commit", no_rows.clone()),
        ("fetch 1 from p2", "close all", no_rows.clone()),
        ("fetch 1 from p2", "insert into t values (1)", no_rows.clone()),
        ("fetch 1 from p2", "copy t to stdout", no_rows),
    ] {
        c.run("begin").await;
        bind(&mut c, "p2", "select 2").await;
        bind(&mut c, "p1", first).await;
        drop(c.session.take_portal("p2"));
        bind(&mut c, "p2", second).await;
        assert_eq!(execute(&mut c, "p1", 0).await, expected, "{first}; {second}");
        c.run("rollback").await;
    }
    assert_eq!(c.text("select count(*) from t").await, "0");
}

#[tokio::test]
async fn views_upon_views_end_where_the_stack_does() {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create view v0 as select 1 x").await;
    let mut levels = 0;
    let error = loop {
        let sql = format!("create view v{} as select * from v{levels}", levels + 1);
        match c.try_run(&sql).await {
            Ok(_) => levels += 1,
            Err(error) => break error,
        }
        // Not to wait for the end of it; so many are more than anybody has.
        if levels == 150 {
            break c.error("select * from v151").await;
        }
    };
    assert!(matches!(error.code().as_str(), "54001" | "42P01"), "{error}");
    assert_eq!(c.text(&format!("select * from v{levels}")).await, "1");
    assert!(levels >= 100, "only {levels} views upon each other");
}

#[tokio::test]
async fn what_doubles_at_each_level_is_refused() {
    let node = Node::new().await;
    let mut c = node.client().await;
    let queries: String =
        (1..40).map(|at| format!(", t{at} as (select 1 x from t{0} a, t{0} b)", at - 1)).collect();
    assert_eq!(
        c.refused(&format!("with t0 as (select 1 x){queries} select * from t39")).await,
        ("54000".into(), "too many range table entries".into())
    );
    for doubling in [
        around("select ", "(", 60, "x", " between 1 and 2)::int", " from (select 1 x) t"),
        around("select ", "nullif(", 60, "x", ",1)", " from (select 1 x) t"),
        around("select ", "case ", 60, "x", " when 1 then 1 when 2 then 2 end", " from (select 1 x) t"),
    ] {
        assert_eq!(c.refused(&doubling).await, ("54001".into(), "statement is too complex".into()));
    }
}

#[tokio::test]
async fn the_limits_of_lists_are_postgresqls() {
    let node = Node::new().await;
    let mut c = node.client().await;
    let list = |count: usize| vec!["1"; count].join(",");
    assert_eq!(c.rows(&format!("select {}", list(1664))).await[0].len(), 1664);
    let too_many = ("54011".to_owned(), "target lists can have at most 1664 entries".to_owned());
    assert_eq!(c.refused(&format!("select {}", list(1665))).await, too_many);
    assert_eq!(c.refused(&format!("select {}", list(100_000))).await, too_many);
    assert_eq!(c.text(&format!("select 1 in ({})", list(100_000))).await, "t");
    assert_eq!(
        c.text(&format!("select count(*) from (values (1){}) t", ",(1)".repeat(50_000))).await,
        "50001"
    );
    assert_eq!(
        c.refused(&format!("select ({0}) < ({0})", list(1665))).await,
        ("54011".into(), "ROW expressions can have at most 1664 entries".into())
    );
    assert_eq!(c.text(&format!("select ({0}) < ({0})", list(1664))).await, "f");
}

#[tokio::test]
async fn a_cancel_reaches_a_long_analysis() {
    let node = Node::new().await;
    let mut c = node.client().await;
    // Analysis alone takes seconds: it has no wait at which a cancel would be heard otherwise.
    let queries: String =
        (1..16).map(|at| format!(", t{at} as (select 1 x from t{0} a, t{0} b)", at - 1)).collect();
    let sql = format!("with t0 as (select 1 x){queries} select * from t15");
    let canceller = c.session.canceller().clone();
    let statements = c.session.start_simple(&sql).unwrap();
    let stopping = std::thread::spawn(move || canceller.cancel(sql_interface::CancelReason::User));
    let error = c.session.prepare_statement(&statements[0], &[]).await.err().unwrap();
    stopping.join().unwrap();
    assert_eq!(error.code().as_str(), "57014");
}

#[tokio::test]
async fn long_lists_of_rows_are_read_as_short_ones_are() {
    let node = Node::new().await;
    let mut c = node.client().await;
    let rows = |first: i32, count: i32| -> String {
        let rows: Vec<String> = (first..first + count).map(|n| format!("({n}, 'x' || ({n} + 1))")).collect();
        rows.join(", ")
    };
    c.run("create table t (a int primary key, b text)").await;
    assert_eq!(c.run(&format!("insert into t values {} returning a", rows(0, 3000))).await, "INSERT 0 3000");
    assert_eq!(
        c.run(&format!("insert into t values {}, (9000, default)", rows(3000, 2000))).await,
        "INSERT 0 2001"
    );
    assert_eq!(c.text("select count(*), sum(a), max(b), count(b) from t").await, "5001|12506500|x999|5000");
    for (sql, expected) in [
        (
            format!("select count(*) from (values {} union all values {}) u", rows(0, 1500), rows(0, 2)),
            "1502",
        ),
        (format!("select count(*) from (values {} union values {}) u", rows(0, 2), rows(1, 1500)), "1501"),
        (format!("with u(a, b) as (values {}) select max(a) from u", rows(7, 1000)), "1006"),
    ] {
        assert_eq!(c.text(&sql).await, expected, "{}", &sql[..60]);
    }
    let list = vec!["(1)"; 2000].join(",");
    let refused = c.refused(&format!("select 1 where 2 = any(values {list})")).await;
    // A query that PostgreSQL takes.
    assert_eq!(refused, ("0A000".into(), "this form of SELECT is not supported".into()));
    for (end, near, at) in [(", (1,)", ")", 6), (", (1 2)", "2", 6), (" (1)", "(", 2), (", 1", "1", 3)] {
        let list = format!("values {}", vec!["(1)"; 2000].join(","));
        let error = c.error(&format!("{list}{end}")).await;
        assert_eq!(error.message(), format!("syntax error at or near \"{near}\""), "{end}");
        let position = error.fields().position.map(|position| position as usize);
        assert_eq!(position, Some(list.len() + at), "{end}");
    }
}
