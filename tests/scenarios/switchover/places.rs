//! Where the command asks. It sees both servers from where it runs and as who runs it: neither what leads to
//! both of them nor what leads nowhere has it tell what is not so.

use super::{LIMIT, command, is_primary, primary, standby};
use nix::sys::signal::{Signal, kill};
use scenarios::{Node, plimsoll, run_ok};
use std::process::Stdio;
use std::time::Instant;

/// How a node is reached over TCP.
fn over_tcp(node: &Node) -> String {
    format!("host=127.0.0.1 port={} user=postgres", node.port())
}

#[test]
fn a_connection_string_that_names_both_servers_asks_the_same_one_all_the_time() {
    let one = primary();
    let two = standby("two", &one);
    let ports = format!("{},{}", one.port(), two.port());
    let both = format!("host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres");
    let turns = [
        (both.clone(), &one, &two, "two"),
        (format!("{both} target_session_attrs=read-write"), &two, &one, "one"),
        (format!("{both} target_session_attrs=primary"), &one, &two, "two"),
    ];
    for (conninfo, old, new, name) in turns {
        old.wait_for("SELECT state FROM pg_stat_replication", "streaming");
        let rejoin = new.conninfo();
        let arguments = ["switchover", "--to", name, "--rejoin", &rejoin, "-d", &conninfo];
        let said = run_ok(plimsoll().args(arguments));
        assert!(said.ends_with("the old primary follows it\n"), "{conninfo}: {said}");
        assert!(is_primary(new) && !is_primary(old), "{conninfo}");
    }
}

/// The old primary has no wish of its own for TLS, and reaches the new one without.
#[test]
fn that_the_old_primary_follows_is_enough_where_the_new_one_does_not_let_the_command_in() {
    let one = primary();
    let two = standby("two", &one);
    let mut command = plimsoll();
    command.env("PGUSER", "postgres").env("PGSSLMODE", "require");
    command.args(["switchover", "--to", "two", "--rejoin", &over_tcp(&two), "-D"]).arg(one.data());
    let said = run_ok(&mut command);
    let done = "the old primary streams timeline 2 from \"two\": the switchover is done, though \"two\" \
                itself could not be asked: server does not support SSL, but SSL was required\n";
    assert!(said.ends_with(done), "{said}");
    assert!(!said.contains("\"two\" is the primary"), "{said}");
    assert!(is_primary(&two) && !is_primary(&one));
    two.sql("INSERT INTO t VALUES (1, 0)");
    one.wait_for("SELECT count(*) FROM t", "1");
}

#[test]
fn nobody_is_to_be_promoted_while_the_standby_could_not_be_asked() {
    let one = primary();
    let two = standby("two", &one);
    let mut asking = plimsoll();
    asking.env("PGUSER", "postgres").env("PGSSLMODE", "require");
    asking.args(["switchover", "--timeout", "5s", "--to", "two", "--rejoin", &over_tcp(&two), "-D"]);
    let pid = one.pid().expect("it runs");
    let asked = asking.arg(one.data()).stderr(Stdio::piped()).spawn().expect("plimsoll starts");
    let (marker, began) = (one.data().join("plimsoll/handover"), Instant::now());
    while !marker.exists() {
        assert!(began.elapsed() < LIMIT, "{}", one.log());
    }
    // Between two lives there may be no postmaster.pid.
    kill(pid, Signal::SIGKILL).expect("it is killed");
    let done = asked.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stderr);
    let why = "\"two\" could not be asked: server does not support SSL, but SSL was required";
    assert!(done.status.code() == Some(1) && said.contains(why), "{said}");
    assert!(!said.contains("plimsoll promote"), "{said}");
}

/// What stands there is meant for servers that are not named otherwise.
#[test]
fn an_address_in_the_environment_is_neither_that_of_a_directory_nor_that_of_the_new_primary() {
    let one = primary();
    let two = standby("two", &one);
    // Nobody listens there.
    let said = run_ok(command(&one, "two", &two, &[]).env("PGHOSTADDR", "127.0.0.9"));
    assert!(said.contains("\"two\" is the primary\n"), "{said}");
    assert!(said.ends_with("the old primary follows it\n"), "{said}");
}
