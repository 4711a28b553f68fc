//! Who may change which role: the answers of PostgreSQL 15.18 to the same statements, after
//! `set session authorization` to each role (psql with VERBOSITY=verbose).

use crate::common::Node;

const SUPERUSER: &str = "must be superuser to alter superuser roles or change superuser attribute";
const REPLICATION: &str = "must be superuser to alter replication roles or change replication attribute";

/// Statements in their order; None where PostgreSQL carries it out, else its SQLSTATE and message.
type Story = &'static [(&'static str, Option<(&'static str, &'static str)>)];

/// A role with CREATEROLE and nothing else.
const CREATOR: Story = &[
    ("alter role rep password 'y'", Some(("42501", REPLICATION))),
    ("alter role rep nologin", Some(("42501", REPLICATION))),
    ("alter role rep noreplication", Some(("42501", REPLICATION))),
    ("alter role su password 'y'", Some(("42501", SUPERUSER))),
    ("alter role su nosuperuser", Some(("42501", SUPERUSER))),
    ("alter role plain replication", Some(("42501", REPLICATION))),
    ("alter role plain noreplication", Some(("42501", REPLICATION))),
    ("alter role plain nosuperuser", Some(("42501", SUPERUSER))),
    ("alter role plain superuser", Some(("42501", SUPERUSER))),
    ("alter role plain password 'p'", None),
    ("create role n1 replication", Some(("42501", "must be superuser to create replication users"))),
    ("create role n2 superuser", Some(("42501", "must be superuser to create superusers"))),
    ("create role n3 noreplication nosuperuser", None),
    ("create role n4 superuser replication", Some(("42501", "must be superuser to create superusers"))),
    ("alter role rep rename to rep2", None),
    ("alter role su rename to su2", Some(("42501", "must be superuser to rename superusers"))),
    ("alter role plain rename to plain2", None),
    ("alter role plain2 rename to pg_x", Some(("42939", "role name \"pg_x\" is reserved"))),
    ("alter role plain2 rename to rep2", Some(("42710", "role \"rep2\" already exists"))),
    ("alter role cr rename to cr2", Some(("0A000", "session user cannot be renamed"))),
    ("drop role su", Some(("42501", "must be superuser to drop superusers"))),
    ("drop role rep2", None),
    ("drop role cr", Some(("55006", "current user cannot be dropped"))),
    ("drop role n3", None),
];

/// A role with no right at all, after the story above.
const PLAIN: Story = &[
    ("alter role plain2 password 'x'", None),
    ("alter role plain2 password 'x' nologin", Some(("42501", "permission denied"))),
    ("alter role plain2 connection limit 3", Some(("42501", "permission denied"))),
    ("alter role cr password 'x'", Some(("42501", "permission denied"))),
    ("alter role su password 'x'", Some(("42501", SUPERUSER))),
    ("alter role rep2 password 'x'", Some(("42704", "role \"rep2\" does not exist"))),
    ("create role n5", Some(("42501", "permission denied to create role"))),
    ("create role n6 superuser", Some(("42501", "must be superuser to create superusers"))),
    ("create role n7 replication", Some(("42501", "must be superuser to create replication users"))),
    ("alter role cr rename to cr3", Some(("42501", "permission denied to rename role"))),
    ("alter role su rename to s3", Some(("42501", "must be superuser to rename superusers"))),
    ("drop role cr", Some(("42501", "permission denied to drop role"))),
    ("drop role su", Some(("42501", "permission denied to drop role"))),
    ("drop role nosuch", Some(("42501", "permission denied to drop role"))),
    ("drop role if exists nosuch", Some(("42501", "permission denied to drop role"))),
    ("alter role nosuch password 'x'", Some(("42704", "role \"nosuch\" does not exist"))),
];

/// A role with CREATEROLE and REPLICATION: it may not even change itself.
const REPLICATING_CREATOR: Story = &[
    ("alter role crown password 'x'", Some(("42501", REPLICATION))),
    ("alter role crown nologin", Some(("42501", REPLICATION))),
    ("create role n8 replication", Some(("42501", "must be superuser to create replication users"))),
    ("alter role plain2 replication", Some(("42501", REPLICATION))),
];

#[tokio::test]
async fn only_superusers_change_superusers_and_roles_that_may_replicate() {
    let node = Node::new().await;
    let mut owner = node.client().await;
    for role in [
        "su superuser",
        "rep replication login password 'x'",
        "plain login",
        "cr createrole login",
        "crown createrole replication login",
    ] {
        owner.run(&format!("create role {role}")).await;
    }
    for (user, story) in [("cr", CREATOR), ("plain2", PLAIN), ("crown", REPLICATING_CREATOR)] {
        let mut client = node.client_of(user).await;
        for (sql, expected) in story {
            let told = client.try_run(sql).await.err();
            let told = told.map(|error| (error.code().to_string(), error.message().to_owned()));
            let expected = expected.map(|(code, message)| (code.to_owned(), message.to_owned()));
            assert_eq!(told, expected, "{user}: {sql}");
        }
    }
    let verifier = node.engine.role("plain2").await.unwrap().unwrap().password;
    assert_eq!(verifier.as_deref(), Some("SCRAM-SHA-256$4096:x"));
    // A superuser may do all of it.
    owner.run("alter role crown password 'y'; alter role plain2 replication; drop role su").await;
}

#[tokio::test]
async fn what_was_granted_among_predefined_roles_can_be_revoked() {
    let node = Node::new().await;
    let mut owner = node.client().await;
    owner.run("create role carl login; grant pg_monitor to carl").await;
    let reads = "select pg_has_role('carl', 'pg_read_server_files', 'usage')";
    for (sql, expected) in [
        ("grant pg_read_server_files to pg_monitor", "t"),
        ("revoke pg_read_server_files from pg_monitor", "f"),
        ("grant pg_read_server_files to pg_monitor with admin option", "t"),
        ("revoke admin option for pg_read_server_files from pg_monitor", "t"),
        ("revoke pg_read_server_files from pg_monitor cascade", "f"),
    ] {
        owner.run(sql).await;
        assert_eq!(owner.text(reads).await, expected, "{sql}");
    }
    // What nobody granted stays, but what was added to it goes.
    let admin = "select count(*) || ' ' || bool_or(admin_option) from pg_auth_members \
                 where roleid = 'pg_read_all_settings'::regrole and member = 'pg_monitor'::regrole";
    for (sql, expected) in [
        ("grant pg_read_all_settings to pg_monitor with admin option", "1 true"),
        ("revoke admin option for pg_read_all_settings from pg_monitor", "1 false"),
    ] {
        owner.run(sql).await;
        assert_eq!(owner.text(admin).await, expected, "{sql}");
    }
    let what =
        "ending the membership of role \"pg_monitor\" in role \"pg_read_all_settings\" is not supported";
    let refused = owner.refused("revoke pg_read_all_settings from pg_monitor").await;
    assert_eq!(refused, ("0A000".to_owned(), what.to_owned()));
}

#[tokio::test]
async fn a_table_takes_the_sequences_of_its_columns_along_to_its_new_owner() {
    let node = Node::new().await;
    let mut owner = node.client().await;
    owner.run("create role app login; create sequence apart").await;
    owner.run("create table t (a serial, b int generated always as identity, c int)").await;
    owner.run("alter table t owner to app").await;
    let mut client = node.client_of("app").await;
    client.run("insert into t (c) values (1)").await;
    let refused = client.try_run("select nextval('apart')").await.err();
    assert_eq!(refused.map(|error| error.code().to_string()).as_deref(), Some("42501"));
}

/// Statements of a role that may read one column of two, and change another: what the details tell
/// (PostgreSQL 15.18).
const DETAILS: &[(&str, Option<&str>)] = &[
    ("update dt set d = 500 where id = 1", Some("Failing row contains (id, d) = (1, 500).")),
    ("update dt set d = null where id = 1", Some("Failing row contains (id, d) = (1, null).")),
    ("insert into dt (id, d) values (3, 500)", Some("Failing row contains (id, d) = (3, 500).")),
    ("insert into dt values (3, 's', 500)", Some("Failing row contains (id, s, d) = (3, s, 500).")),
    ("insert into dt values (1, 's', 5)", Some("Key (id)=(1) already exists.")),
    ("insert into dt values (3, 'TOP', 5)", None),
    (
        "insert into dt (id, d) values (1, 5) on conflict (id) do update set d = 500",
        Some("Failing row contains (id, d) = (1, 500)."),
    ),
    ("insert into hidden values (1, 2)", Some("Failing row contains (a, b) = (1, 2).")),
    ("insert into hidden (a) values (1)", Some("Failing row contains (a) = (1).")),
    ("insert into hidden default values", None),
];

#[tokio::test]
async fn details_tell_of_a_row_what_the_role_may_read_or_has_set() {
    let node = Node::new().await;
    let mut owner = node.client().await;
    owner.run("create role reader login").await;
    owner
        .run("create table dt (id int primary key, s text unique default 'S3CRET', d int not null check (d < 100))")
        .await;
    owner
        .run("create table hidden (a int check (a = 0), b int default 7, c int check (c > 0) default 0)")
        .await;
    owner.run("insert into dt values (1, 'TOP', 5), (2, 'SECRET', 6)").await;
    owner
        .run("grant select (id), insert, update (d) on dt to reader; grant insert on hidden to reader")
        .await;
    let mut client = node.client_of("reader").await;
    for (sql, expected) in DETAILS {
        let error = client.try_run(sql).await.err().unwrap_or_else(|| panic!("{sql} is refused"));
        assert_eq!(error.fields().detail.as_deref(), *expected, "{sql}");
    }
    let error = owner.try_run("update dt set d = 500 where id = 1").await.err().unwrap();
    assert_eq!(error.fields().detail.as_deref(), Some("Failing row contains (1, TOP, 500)."));
}
