//! Who may do what: PostgreSQL 15's answers, and rights on a standby, after a crash, and while they change.

use postgres::{Client, NoTls};
use scenarios::script::Session;
use scenarios::{Node, PostgreSql};

/// The statements of a text: a line each, without comments.
fn statements(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().zip(1..).map(|(line, number)| (number, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with("--"))
}

/// Answers that differ on purpose: the statement, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("comment on table t is 'x'", "COMMENT is absent"),
    ("revoke select on t from public", "no warning about each column beside that about the table"),
    (
        "drop role ann",
        "a table has a lower OID than the sequences of its columns, so the detail's order differs",
    ),
];

#[test]
fn statements_about_rights_give_postgresqls_answers() {
    let postgresql = PostgreSql::start(&[]);
    let plimsoll = Node::builder().start();
    let theirs = Session::connect(&postgresql.conninfo());
    let ours = Session::connect(&plimsoll.conninfo());
    let mut differences = Vec::new();
    let mut said = 0;
    for (line, sql) in statements(include_str!("statements.sql")) {
        let (expected, found) = (theirs.say(sql), ours.say(sql));
        said += 1;
        if expected != found && !OTHERWISE.iter().any(|(known, _)| *known == sql) {
            differences.push(format!("line {line}: {sql}\n  PostgreSQL: {expected}\n  here:       {found}"));
        }
    }
    assert!(said > 400, "only {said} statements");
    assert!(differences.is_empty(), "{} of {said} differ:\n{}", differences.len(), differences.join("\n"));
}

fn connect(node: &Node, user: &str) -> Client {
    let conninfo = node.conninfo().replace("user=postgres", &format!("user={user}"));
    Client::connect(&conninfo, NoTls).expect("connects")
}

fn refused(client: &mut Client, sql: &str) -> Option<String> {
    client.batch_execute(sql).err().and_then(|error| error.code().map(|code| code.code().to_owned()))
}

#[test]
fn rights_reach_the_standby_by_replay_and_outlive_a_crash() {
    let node = Node::builder().start();
    let standby = Node::builder().clone_from(&node);
    node.sql(
        "create role ann login; create role staff; create table t (a int, b int); grant select on t to staff",
    );
    node.wait_for("select count(*) from pg_stat_replication", "1");
    let reach = |node: &Node, standby: &Node| standby.wait_replayed(&node.sql("select pg_current_wal_lsn()"));
    reach(&node, &standby);
    let mut reader = connect(&standby, "ann");
    let prepared = reader.prepare("select count(*) from t");
    assert!(prepared.is_ok(), "a statement is asked for rights when it runs");
    let prepared = prepared.expect("a statement");
    assert!(reader.query(&prepared, &[]).is_err());
    node.sql("grant staff to ann");
    reach(&node, &standby);
    assert!(reader.query(&prepared, &[]).is_ok(), "a grant is there once it is replayed");
    node.kill_9();
    node.start();
    assert_eq!(
        node.sql("select relacl from pg_class where relname = 't'"),
        "{postgres=arwdDxt/postgres,staff=r/postgres}"
    );
    let mut own = connect(&node, "ann");
    assert_eq!(refused(&mut own, "select * from t"), None);
    node.sql("revoke staff from ann");
    assert_eq!(refused(&mut own, "select * from t").as_deref(), Some("42501"));
    reach(&node, &standby);
    assert!(reader.query(&prepared, &[]).is_err(), "and is gone with its revocation");
}

#[test]
fn a_grant_takes_effect_while_the_table_is_in_use() {
    let node = Node::builder().start();
    node.sql(
        "create role ann login; create table t (id int primary key, a int); insert into t values (1, 0)",
    );
    node.sql("grant select, update on t to ann");
    let mut user = connect(&node, "ann");
    let read = user.prepare("select a from t where id = $1").expect("a statement");
    let write = user.prepare("update t set a = a + 1 where id = $1").expect("a statement");
    let mut done = 0;
    for round in 0..20 {
        let allowed = round % 2 == 0;
        let word = if allowed { "grant update on t to" } else { "revoke update on t from" };
        node.sql(&format!("{word} ann"));
        let written = user.execute(&write, &[&1_i32]);
        assert_eq!(written.is_ok(), allowed, "round {round}: {written:?}");
        done += i32::from(allowed);
        let row = user.query_one(&read, &[&1_i32]).expect("the row is read");
        assert_eq!(row.get::<_, i32>(0), done);
    }
    // Two at once change one list: neither loses what the other has said.
    node.sql("create role r0; create role r1; create role r2; create role r3");
    std::thread::scope(|scope| {
        for role in 0..4 {
            let node = &node;
            scope.spawn(move || {
                for _ in 0..5 {
                    node.sql(&format!("grant select on t to r{role}"));
                    node.sql(&format!("revoke select on t from r{role}"));
                }
                node.sql(&format!("grant select on t to r{role}"));
            });
        }
    });
    let count = "select count(*) from pg_class, aclexplode(relacl) a where relname = 't' and privilege_type = 'SELECT'";
    assert_eq!(node.sql(count), "6", "the owner, ann, and four others");
}

#[test]
fn sessions_begin_with_the_settings_and_rights_of_their_role() {
    let node = Node::builder().start();
    node.sql("create role ann login; create role staff; grant staff to ann");
    node.sql("alter role ann set work_mem = '7MB'; alter role ann set role = staff");
    node.sql("alter database postgres set work_mem = '6MB'; alter database postgres set geqo = off");
    let mut user = connect(&node, "ann");
    let mut show = |sql: &str| user.query_one(sql, &[]).expect("a row").get::<_, String>(0);
    assert_eq!(show("select current_setting('work_mem')"), "7MB");
    assert_eq!(show("select current_setting('geqo')"), "off");
    assert_eq!(show("select current_user::text"), "staff");
    assert_eq!(show("select session_user::text"), "ann");
    node.sql("revoke connect on database postgres from public");
    let conninfo = node.conninfo().replace("user=postgres", "user=ann");
    let error = Client::connect(&conninfo, NoTls).err().expect("it is refused");
    assert_eq!(error.code().map(|code| code.code()), Some("42501"));
}

#[test]
fn others_statements_are_for_those_who_may_see_and_end_them() {
    let node = Node::builder().start();
    node.sql("create role ann login; create role bea login; create role monitor login");
    node.sql("grant pg_monitor to monitor; grant pg_signal_backend to bea");
    let ann = Session::connect(&node.conninfo().replace("user=postgres", "user=ann"));
    assert_eq!(ann.say("select 'a secret'"), "a secret");
    let seen = format!("select query from pg_stat_activity where pid = {}", ann.pid);
    let query = |user: &str| connect(&node, user).query_one(&seen, &[]).expect("a row").get::<_, String>(0);
    assert_eq!(query("bea"), "<insufficient privilege>");
    assert_eq!(query("monitor"), "select 'a secret'");
    assert_eq!(query("ann"), "select 'a secret'");
    let end = format!("select pg_terminate_backend({})", ann.pid);
    assert_eq!(refused(&mut connect(&node, "monitor"), &end).as_deref(), Some("42501"));
    let root = Session::connect(&node.conninfo());
    let end_root = format!("select pg_terminate_backend({})", root.pid);
    assert_eq!(refused(&mut connect(&node, "bea"), &end_root).as_deref(), Some("42501"));
    let ended: bool = connect(&node, "bea").query_one(&end, &[]).expect("a row").get(0);
    assert!(ended);
}
