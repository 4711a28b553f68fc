//! What a fenced primary still gives, and to whom: log up to the fork, and the word that it was replaced.

use scenarios::{Node, plimsoll, run, run_ok, wait_until};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn named(name: &str) -> scenarios::NodeBuilder {
    Node::builder().setting("cluster_name", name).setting("plimsoll.fence_probe_interval", "200ms")
}

/// A primary that two standbys follow, of which the second names the first one, too.
fn trio() -> (Node, Node, Node) {
    let one = named("one").start();
    let two = named("two").clone_from(&one);
    let three = named("three").setting("wal_retrieve_retry_interval", "100ms").clone_from(&one);
    let both = format!("host=127.0.0.1,127.0.0.1 port={},{} user=postgres", one.port(), two.port());
    three.alter(&format!("SET primary_conninfo = '{both}'"));
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    one.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2");
    two.wait_for("SELECT count(*) FROM t", "0");
    three.wait_for("SELECT count(*) FROM t", "0");
    (one, two, three)
}

fn wait_fenced(node: &Node) {
    wait_until("it is fenced", LIMIT, || {
        if node.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(node.log()) }
    });
}

fn status(node: &Node) -> String {
    run_ok(plimsoll().arg("status").arg("-D").arg(node.data()))
}

#[test]
fn a_standby_that_names_others_leaves_it_at_the_fork_and_follows_what_replaced_it() {
    let (one, two, three) = trio();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_fenced(&one);
    // What it writes from now on, a checkpoint's record at least, is nobody's.
    one.sql("CHECKPOINT");
    two.sql("INSERT INTO t VALUES (1)");
    three.wait_for("SELECT count(*) FROM t", "1");
    three.wait_for("SELECT received_tli FROM pg_stat_wal_receiver", "2");
    assert!(three.log().contains("this server was replaced: timeline 1 ended at"), "{}", three.log());
    assert!(status(&three).contains("timeline: 2\n"), "{}", status(&three));
    // A restart begins with the server that is named first, and leaves it as well.
    three.stop();
    three.start();
    two.sql("INSERT INTO t VALUES (2)");
    three.wait_for("SELECT count(*) FROM t", "2");
}

#[test]
fn no_standby_is_made_of_it() {
    let (one, two, _three) = trio();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_fenced(&one);
    let copy = one.folder().join("copy");
    let refused = run(plimsoll().args(["clone", "--from", &one.conninfo(), "-D"]).arg(&copy));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("goes on elsewhere as timeline 2"), "{}", refused.stderr);
    assert!(!copy.exists());
    let told = status(&one);
    assert!(told.contains("nothing had been written here behind that when it was fenced"), "{told}");
}
