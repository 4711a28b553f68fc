//! Answers rest on commits, also those without rows: none leaves before these are visible to everybody.

use crate::common::{Client, Node, until_it_waits};
use sql_interface::{CancelReason, Canceller, SettingActor, SqlError};
use std::time::{Duration, Instant};
use storage::{RemoteProgress, WaitEvent};
use tokio::task::JoinHandle;

/// A node of whose log the synchronous standby has everything up to now, and no more until it is asked again.
pub fn quorum_has_all(node: &Node) {
    let database = node.engine.database();
    let upto = database.positions().unwrap().flushed();
    let progress = RemoteProgress { required: true, written: upto, flushed: upto, replayed: upto };
    database.commit_gate().set_remote(progress);
}

/// A session whose commits wait for the standby.
pub async fn synchronous(node: &Node) -> Client {
    let mut client = node.client().await;
    client.run("set synchronous_commit = 'on'").await;
    client
}

pub type Answer = JoinHandle<(Client, Result<String, SqlError>)>;

/// Runs a message, and the data of a COPY with it, on a task of its own. The answer is its last tag, or an
/// error.
pub fn ask(mut client: Client, sql: &str) -> Answer {
    let sql = sql.to_owned();
    tokio::spawn(async move {
        let told = match sql.split_once(" <<") {
            Some((copy, data)) => client.copy_in(copy, data).await,
            None => client.try_run(&sql).await.map(|(_, tag)| tag),
        };
        (client, told)
    })
}

pub fn told(answer: Result<String, SqlError>) -> String {
    answer.unwrap_or_else(|error| error.code().to_string())
}

/// What another session did and no standby has, what is asked meanwhile, and what is answered once the
/// standby has it.
const STORIES: &[(&str, &str, &str)] = &[
    ("insert into t values (5, 50)", "insert into t values (5, 1) on conflict do nothing", "INSERT 0 0"),
    ("insert into t values (5, 50)", "insert into t values (6, 50) on conflict do nothing", "INSERT 0 0"),
    (
        "insert into t values (5, 50)",
        "insert into t values (6, 50) on conflict (v) do update set v = 0 where t.id = 7",
        "INSERT 0 0",
    ),
    ("insert into t values (5, 50)", "insert into t values (5, 1)", "23505"),
    ("insert into t values (5, 50)", "insert into t values (6, 50)", "23505"),
    ("insert into t values (5, 50)", "update t set id = 5 where id = 1", "23505"),
    ("insert into t values (5, 50)", "copy t from stdin <<5\t1\n", "23505"),
    ("insert into t values (5, 50)", "begin; insert into t values (5, 1)", "23505"),
    ("insert into t values (5, 50)", "begin; savepoint s; insert into t values (5, 1)", "23505"),
    (
        "insert into t values (5, 50)",
        "begin; insert into t values (5, 1) on conflict do nothing; commit",
        "COMMIT",
    ),
    ("delete from t where id = 1", "delete from t where id = 1", "DELETE 0"),
    ("delete from t where id = 1", "delete from t where id < 2", "DELETE 0"),
    ("delete from t where id = 1", "delete from t where v = 10", "DELETE 0"),
    ("delete from t where id = 1", "update t set v = 3 where id = 1", "UPDATE 0"),
    ("delete from t where id = 1", "update t set v = 3 where id < 2", "UPDATE 0"),
    ("delete from t where id = 1", "select from t where id = 1 for update", "SELECT 0"),
    ("delete from t where id = 1", "select from t where id = 1 for share", "SELECT 0"),
    (
        "delete from t where id = 1",
        "select count(*) from (select from t where id < 2 for update) x",
        "SELECT 1",
    ),
    ("delete from t where id = 1", "explain (analyze) select from t where id = 1 for update", "EXPLAIN"),
    ("delete from t where id = 1", "begin; explain (analyze) delete from t where id = 1", "EXPLAIN"),
    ("delete from t where id = 1", "begin; delete from t where id = 1; commit", "COMMIT"),
    (
        "delete from t where id = 1",
        "begin; savepoint s; delete from t where id = 1; release s; commit",
        "COMMIT",
    ),
    (
        "delete from t where id = 1",
        "begin; savepoint s; delete from t where id = 1; rollback to s; commit",
        "COMMIT",
    ),
    ("delete from t where id = 1", "begin; delete from t where id = 1; rollback; select 1", "SELECT 1"),
    ("update t set v = 11 where id = 1", "update t set v = 0 where id = 1 and v = 10", "UPDATE 0"),
    ("update t set v = 11 where id = 1", "select 1 / (v - 11) from t where id = 1 for update", "22012"),
    ("select nextval('s')", "select last_value from s", "SELECT 1"),
    (
        "update t set v = 11 where id = 1",
        "select repeat('x', v * 100000000) from t where id = 1 for update",
        "54000",
    ),
    (
        "delete from t where id = 1",
        "begin; delete from t where id = 1; select from t where false",
        "SELECT 0",
    ),
    ("delete from t where id = 1", "begin; delete from t where id = 1; explain select from t", "EXPLAIN"),
    ("delete from t where id = 1", "begin; delete from t where id = 1; show work_mem", "SHOW"),
    ("delete from t where id = 1", "begin; delete from t where id = 1; drop table if exists x", "DROP TABLE"),
    (
        "delete from t where id = 1",
        "begin; delete from t where id = 1; copy (select id from t where false) to stdout (format csv, header)",
        "COPY 0",
    ),
    (
        "update t set v = 11 where id = 1",
        "begin; update t set v = length(set_config('work_mem', v || 'MB', false)) where id = 1; rollback",
        "ROLLBACK",
    ),
];

async fn node_with_rows() -> Node {
    let node = Node::new().await;
    let mut c = node.client().await;
    c.run("create table t (id int primary key, v int unique); create sequence s").await;
    fill(&mut c).await;
    node
}

async fn fill(c: &mut Client) {
    c.run("delete from t; insert into t values (1, 10), (2, 20)").await;
}

/// Whether the answer waits until commits of others are visible; false if it comes without that wait, or not
/// in time.
pub async fn waits(canceller: &Canceller, answer: &Answer) -> bool {
    let begun = Instant::now();
    while canceller.waits_for() != Some(WaitEvent::Visible) {
        if answer.is_finished() || begun.elapsed() > Duration::from_secs(60) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
}

#[tokio::test]
async fn an_answer_without_rows_waits_for_what_it_rests_on() {
    let node = node_with_rows().await;
    let mut reader = node.client().await;
    let mut hasty = Vec::new();
    for (doubtful, asked, answer) in STORIES {
        let writer = synchronous(&node).await;
        quorum_has_all(&node);
        let writing = ask(writer, doubtful);
        in_doubt(&node).await;
        let asking = node.client().await;
        let canceller = asking.session.canceller().clone();
        let answering = ask(asking, asked);
        if !waits(&canceller, &answering).await {
            hasty.push(*asked);
        }
        assert!(!writing.is_finished(), "{doubtful}");
        assert_eq!(
            reader.text("select * from t order by id").await,
            "1|10;2|20",
            "nobody reads it meanwhile"
        );
        quorum_has_all(&node);
        let (client, told_now) = answering.await.unwrap();
        assert_eq!(told(told_now), *answer, "{asked} beside {doubtful}");
        drop(client);
        writing.await.unwrap().1.unwrap();
        fill(&mut reader).await;
    }
    assert!(hasty.is_empty(), "these did not wait: {hasty:#?}");
}

/// Waits until a commit of more than what is visible is flushed.
pub async fn in_doubt(node: &Node) {
    let database = node.engine.database();
    let positions = database.positions().unwrap();
    while database.horizon_report().in_doubt.is_none() || positions.flushed() < positions.inserted() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cancelled_wait_tells_nothing_and_leaves_the_session_as_it_was() {
    let node = node_with_rows().await;
    for (doubtful, asked, _) in STORIES.iter().filter(|story| !story.1.contains("; rollback; ")) {
        let writer = synchronous(&node).await;
        quorum_has_all(&node);
        let writing = ask(writer, doubtful);
        in_doubt(&node).await;
        let asking = node.client().await;
        let canceller = asking.session.canceller().clone();
        let answering = ask(asking, asked);
        until_it_waits(&canceller, WaitEvent::Visible).await;
        canceller.cancel(CancelReason::User);
        let (mut client, told_now) = answering.await.unwrap();
        assert_eq!(told(told_now), "57014", "{asked} beside {doubtful}");
        canceller.clear();
        client.run("rollback").await;
        // What a tag has told in the block binds what follows.
        if asked.matches("; ").count() < 2 {
            assert_eq!(client.text("select * from t order by id").await, "1|10;2|20");
        }
        quorum_has_all(&node);
        writing.await.unwrap().1.unwrap();
        fill(&mut node.client().await).await;
    }
}

#[tokio::test]
async fn a_tag_inside_of_a_block_does_not_wait_for_the_standby() {
    let node = node_with_rows().await;
    let (mut c, writer) = (node.client().await, synchronous(&node).await);
    quorum_has_all(&node);
    let writing = ask(writer, "delete from t where id = 1");
    in_doubt(&node).await;
    assert_eq!(c.run("begin").await, "BEGIN");
    assert_eq!(c.run("delete from t where id = 1").await, "DELETE 0");
    assert_eq!(c.run("update t set v = 21 where id = 2").await, "UPDATE 1");
    assert_eq!(c.run("rollback").await, "ROLLBACK");
    quorum_has_all(&node);
    writing.await.unwrap().1.unwrap();
}

#[tokio::test]
async fn what_was_told_in_a_block_that_failed_at_once_binds_what_follows() {
    let node = node_with_rows().await;
    let (mut c, writer) = (node.client().await, synchronous(&node).await);
    quorum_has_all(&node);
    let writing = ask(writer, "delete from t where id = 1");
    in_doubt(&node).await;
    let (code, _) =
        c.refused("begin; delete from t where id = 1; set transaction isolation level repeatable read").await;
    assert_eq!(code, "25001", "it tells of no row and comes at once");
    c.run("rollback").await;
    let canceller = c.session.canceller().clone();
    let answering = ask(c, "select 1");
    until_it_waits(&canceller, WaitEvent::Visible).await;
    quorum_has_all(&node);
    assert_eq!(told(answering.await.unwrap().1), "SELECT 1");
    writing.await.unwrap().1.unwrap();
}

#[tokio::test]
async fn a_tag_that_left_before_the_end_binds_what_follows() {
    for asked in [
        "begin; copy t from stdin <<1\t1\n",
        "begin; delete from t where id = 2",
        "delete from t where id = 2",
    ] {
        let node = node_with_rows().await;
        let (c, writer) = (node.client().await, synchronous(&node).await);
        quorum_has_all(&node);
        let writing = ask(writer, "delete from t; insert into t values (2, 21)");
        in_doubt(&node).await;
        let mut c = c;
        match asked.split_once(" <<") {
            Some((copy, data)) => drop(c.copy_in(copy, data).await.unwrap()),
            None if asked.starts_with("begin") => drop(c.run(asked).await),
            // An implicit transaction whose tag went before its end, as that of Execute.
            None => {
                c.execute_portal(asked, Vec::new()).await.unwrap();
                c.session.tag_told();
                c.session.fail();
                c.session.sync().await.unwrap();
            }
        }
        let canceller = c.session.canceller().clone();
        let answering = tokio::spawn(async move {
            c.run("rollback").await;
            c.text("select count(*) from t").await
        });
        until_it_waits(&canceller, WaitEvent::Visible).await;
        quorum_has_all(&node);
        assert_eq!(answering.await.unwrap(), "1", "{asked}");
        writing.await.unwrap().1.unwrap();
    }
}

#[tokio::test]
async fn a_failed_statement_takes_back_what_it_set_at_once() {
    let node = node_with_rows().await;
    let mut c = node.client().await;
    c.run("set a.b = 'before'").await;
    for (begin, after) in [("begin; ", "before"), ("begin; set a.b = 'kept'; savepoint s; ", "kept")] {
        c.error(&format!("{begin}select set_config('a.b', 'failed', false); select 1 / 0")).await;
        let shown = c.session.environment().show(SettingActor::SUPERUSER, "a.b").unwrap();
        assert_eq!(shown.as_deref(), Some(after), "{begin}");
        c.run("rollback").await;
    }
    assert_eq!(c.text("show a.b").await, "before");
}

#[tokio::test]
async fn a_description_waits_for_what_its_names_rest_on() {
    let node = node_with_rows().await;
    let (mut c, writer) = (node.client().await, synchronous(&node).await);
    quorum_has_all(&node);
    let writing = ask(writer, "delete from t where id = 1");
    in_doubt(&node).await;
    c.run("begin; delete from t where id = 1").await;
    let prepared = c.session.prepare("update t set v = $1", &[]).await.unwrap();
    let canceller = c.session.canceller().clone();
    let describing = tokio::spawn(async move { c.session.may_describe(&prepared).await });
    until_it_waits(&canceller, WaitEvent::Visible).await;
    quorum_has_all(&node);
    describing.await.unwrap().unwrap();
    writing.await.unwrap().1.unwrap();
}

/// What is planned while commits of before the start are undecided, and told only then.
const OF_NAMES: &[(&str, &str)] = &[
    ("select * from found", "describe"),
    ("insert into found values ($1)", "describe"),
    ("select * from missing", "42P01"),
    ("select nothing from found", "42703"),
    ("select 'found'::regclass", "SELECT 1"),
    ("select to_regclass('found')", "SELECT 1"),
    ("select pg_relation_size('found')", "SELECT 1"),
];

#[tokio::test]
async fn after_a_start_names_are_told_once_commits_of_before_are_decided() {
    let node = Node::new().await;
    let writer = synchronous(&node).await;
    quorum_has_all(&node);
    let canceller = writer.session.canceller().clone();
    let writing = ask(writer, "create table found (id int primary key)");
    in_doubt(&node).await;
    canceller.cancel(CancelReason::User);
    assert_eq!(told(writing.await.unwrap().1), "CREATE TABLE");
    let node = node.restart_synchronous().await;
    let mut watcher = node.client().await;
    let mut asked = Vec::new();
    for (text, answer) in OF_NAMES {
        assert_eq!(
            watcher.run("select 1 + 1").await,
            "SELECT 1",
            "what tells of the node alone does not wait"
        );
        let mut c = node.client().await;
        let canceller = c.session.canceller().clone();
        let asking: Answer = if *answer == "describe" {
            let prepared = c.session.prepare(text, &[]).await.unwrap();
            tokio::spawn(async move {
                let waited = c.session.may_describe(&prepared).await;
                (c, waited.map(|()| "describe".to_owned()))
            })
        } else {
            ask(c, text)
        };
        until_it_waits(&canceller, WaitEvent::Undecided).await;
        asked.push((asking, answer));
    }
    quorum_has_all(&node);
    for (asking, answer) in asked {
        assert_eq!(told(asking.await.unwrap().1), **answer);
    }
}

#[tokio::test]
async fn a_number_that_a_rolled_back_transaction_took_is_told_only_once_it_cannot_come_again() {
    let node = node_with_rows().await;
    let mut c = synchronous(&node).await;
    quorum_has_all(&node);
    c.run("begin; insert into t values (nextval('s') + 100, 0); rollback").await;
    let canceller = c.session.canceller().clone();
    let answering = ask(c, "select currval('s')");
    until_it_waits(&canceller, WaitEvent::Visible).await;
    quorum_has_all(&node);
    assert_eq!(told(answering.await.unwrap().1), "SELECT 1");
}

#[tokio::test]
async fn on_a_fenced_server_an_answer_that_rests_on_what_is_in_doubt_fails() {
    let node = node_with_rows().await;
    let (asking, writer) = (node.client().await, synchronous(&node).await);
    quorum_has_all(&node);
    let writing = ask(writer, "delete from t where id = 1");
    in_doubt(&node).await;
    let canceller = asking.session.canceller().clone();
    let answering = ask(asking, "delete from t where id = 1");
    until_it_waits(&canceller, WaitEvent::Visible).await;
    node.engine.database().fence("timeline 2 was promoted");
    let (mut asking, told) = answering.await.unwrap();
    assert!(told.unwrap_err().message().contains("fenced"));
    assert!(writing.await.unwrap().1.is_err());
    assert_eq!(asking.text("select * from t order by id").await, "1|10;2|20");
}

#[tokio::test]
async fn on_a_fenced_server_nobody_finds_a_table_whose_commit_is_in_doubt() {
    let node = node_with_rows().await;
    let (mut own, writer) = (node.client().await, synchronous(&node).await);
    quorum_has_all(&node);
    let writing = ask(writer, "create table found (id int primary key); insert into found values (1)");
    in_doubt(&node).await;
    own.run("insert into t values (3, 30)").await;
    // It sees all that lies before its own commit, and so has the new catalogue read.
    own.run("begin; insert into t values (4, 40)").await;
    node.engine.database().fence("timeline 2 was promoted");
    assert!(writing.await.unwrap().1.is_err());
    let mut reader = node.client().await;
    assert_eq!(reader.error("select * from found").await.code().as_str(), "42P01");
    assert_eq!(reader.text("select * from t order by id").await, "1|10;2|20");
}
