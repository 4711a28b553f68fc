//! Shell commands of the settings have an owner: each way in which a server ends waits for them or ends them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scenarios::{Node, plimsoll, run, run_ok, wait_until};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn wait_for_file(path: &Path) -> String {
    wait_until("the command has begun", LIMIT, || match fs::read_to_string(path) {
        Ok(text) if text.ends_with('\n') => Ok(text),
        other => Err(format!("{other:?}")),
    })
}

fn lives(pid: Pid) -> bool {
    // Who has ended and waits for init to take note is gone.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(pid, None).is_ok() && !stat.contains(") Z ")
}

fn wait_gone(pid: Pid) {
    wait_until("the process is gone", LIMIT, || if lives(pid) { Err(pid.to_string()) } else { Ok(()) });
}

fn pid_in(path: &Path) -> Pid {
    Pid::from_raw(wait_for_file(path).lines().last().and_then(|pid| pid.parse().ok()).expect("a pid"))
}

/// A primary with small segments whose archive_command tells of each call in `calls`, and in the first one
/// waits for `go`.
fn slow_archive() -> Node {
    let node = Node::builder()
        .init_option("--wal-segsize=1")
        .setting("archive_mode", "on")
        .setting("wal_keep_size", "0")
        .init();
    let folder = node.folder().display().to_string();
    fs::create_dir(node.folder().join("archive")).expect("an archive");
    run_ok(Command::new("mkfifo").arg(node.folder().join("go")));
    let script = node.folder().join("put.sh");
    let text = format!(
        "set -e\necho \"begin $2\" >> {folder}/calls\n\
         if ! test -e {folder}/first; then echo $$ > {folder}/first; read go < {folder}/go; fi\n\
         test ! -e {folder}/archive/$2\ncp \"$1\" {folder}/archive/$2\necho \"end $2\" >> {folder}/calls\n"
    );
    fs::write(&script, text).expect("a script");
    node.set("archive_command", &format!("sh {} %p %f", script.display()));
    node.start();
    node.sql("CREATE TABLE t (n int)");
    node
}

fn calls(node: &Node) -> Vec<String> {
    fs::read_to_string(node.folder().join("calls")).expect("calls").lines().map(str::to_owned).collect()
}

/// Stops a server until only its archiver is waited for: the shutdown checkpoint is there.
fn fast_stop_up_to_the_archiver(node: &Node) -> Pid {
    let pid = node.pid().expect("it runs");
    kill(pid, Signal::SIGINT).expect("a fast stop");
    wait_until("the log has its end", LIMIT, || {
        let control = run(node.tool("pg_controldata").arg(node.data())).stdout;
        if control.contains("shut down\n") { Ok(()) } else { Err(control) }
    });
    pid
}

#[test]
fn a_fast_stop_waits_for_the_one_call_of_archive_command_that_is_under_way() {
    let node = slow_archive();
    let ended = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    node.sql("SELECT pg_switch_wal()");
    wait_for_file(&node.folder().join("first"));
    node.sql("INSERT INTO t VALUES (1)");
    let pid = fast_stop_up_to_the_archiver(&node);
    assert!(lives(pid), "it waits for the command");
    assert_eq!(calls(&node), [format!("begin {ended}")]);
    fs::write(node.folder().join("go"), "\n").expect("the command goes on");
    wait_gone(pid);
    let calls = calls(&node);
    // One call at a time, one for each file.
    for pair in calls.chunks(2) {
        assert_eq!(pair[0].replace("begin", "end"), pair[1], "{calls:?}");
    }
    let begun = |name: &str| calls.iter().filter(|call| **call == format!("begin {name}")).count();
    assert_eq!(begun(&ended), 1, "{calls:?}");
    assert!(calls.len() >= 4, "the last segment is archived too: {calls:?}");
    let kept = node.folder().join("archive").join(&ended);
    run_ok(node.tool("pg_waldump").args(["-q", "-n", "1"]).arg(kept));
    assert!(!node.data().join("postmaster.pid").exists());
}

#[test]
fn a_fast_stop_leaves_the_further_tries_of_a_file_that_failed_to_its_last_turn() {
    let node = slow_archive();
    let refused = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    fs::write(node.folder().join("archive").join(&refused), "another's").expect("a file in the archive");
    node.sql("SELECT pg_switch_wal()");
    wait_for_file(&node.folder().join("first"));
    let pid = fast_stop_up_to_the_archiver(&node);
    fs::write(node.folder().join("go"), "\n").expect("the command goes on, and fails");
    wait_gone(pid);
    let tries = calls(&node).iter().filter(|call| **call == format!("begin {refused}")).count();
    // Three of the last turn, and those of before it was asked for.
    assert!((4..6).contains(&tries), "{tries}: {}", node.log());
}

#[test]
fn an_immediate_stop_and_a_killed_server_end_archive_command() {
    for signal in [Signal::SIGQUIT, Signal::SIGKILL] {
        let node = slow_archive();
        node.sql("SELECT pg_switch_wal()");
        let command = pid_in(&node.folder().join("first"));
        let pid = node.pid().expect("it runs");
        kill(pid, signal).expect("a stop");
        wait_gone(pid);
        if signal == Signal::SIGKILL {
            wait_gone(command);
        } else {
            assert!(!lives(command), "it has ended before the server has");
        }
    }
}

/// Starts a server as a child of the test.
fn in_front(node: &Node) -> std::process::Child {
    plimsoll()
        .args(["run", "-D"])
        .arg(node.data())
        .args(["-c", "listen_addresses=", "-p", &node.port().to_string()])
        .args(["-k", &node.folder().display().to_string()])
        .stderr(fs::File::create(node.log_path()).expect("a log"))
        .spawn()
        .expect("a server")
}

/// A node that is to be recovered, whose restore_command never comes back.
fn hanging_restore(signal_file: &str) -> (Node, std::path::PathBuf) {
    let node = Node::builder().init();
    let begun = node.folder().join("begun");
    // What the shell starts ends with it.
    node.set("restore_command", &format!("echo $$ > {0}; sleep 1000; cp /dev/null %p", begun.display()));
    fs::write(node.data().join(signal_file), "").expect("a signal file");
    (node, begun)
}

#[test]
fn a_stop_of_each_mode_before_redo_begins_ends_restore_command_and_leaves_nothing() {
    for (signal, word) in
        [(Signal::SIGTERM, "smart"), (Signal::SIGINT, "fast"), (Signal::SIGQUIT, "immediate")]
    {
        let (node, begun) = hanging_restore("recovery.signal");
        let mut server = in_front(&node);
        let command = pid_in(&begun);
        kill(Pid::from_raw(i32::try_from(server.id()).expect("a pid")), signal).expect("a stop");
        let status = server.wait().expect("its end");
        assert_eq!(status.code(), Some(0), "{word}: {status:?}\n{}", node.log());
        assert!(!lives(command), "{word}");
        assert!(!node.data().join("postmaster.pid").exists(), "{word}");
        let log = node.log();
        assert!(log.contains(&format!("received {word} shutdown request")), "{log}");
        assert!(log.contains("database system is shut down"), "{log}");
    }
}

#[test]
fn a_smart_stop_ends_the_restore_command_of_a_standby() {
    let primary = Node::builder().start();
    let standby = Node::builder().clone_from(&primary);
    standby.stop();
    let begun = standby.folder().join("begun");
    standby.set("restore_command", &format!("echo $$ > {0}; sleep 1000; false", begun.display()));
    standby.set("primary_conninfo", "");
    let mut server = in_front(&standby);
    let command = pid_in(&begun);
    run_ok(plimsoll().args(["stop", "-m", "smart", "-D"]).arg(standby.data()));
    assert_eq!(server.wait().expect("its end").code(), Some(0));
    assert!(!lives(command));
}

#[test]
fn a_fast_stop_ends_recovery_end_command_and_the_promotion_is_begun_anew() {
    let primary = Node::builder().start();
    let standby = Node::builder().clone_from(&primary);
    let (begun, fast) = (standby.folder().join("begun"), standby.folder().join("fast"));
    standby.alter(&format!(
        "SET recovery_end_command = 'test -e {1} && exit; echo $$ > {0}; sleep 1000; true'",
        begun.display(),
        fast.display()
    ));
    standby.sql("SELECT pg_promote(wait => false)");
    let command = pid_in(&begun);
    standby.stop();
    assert!(!lives(command));
    let log = standby.log();
    assert!(log.contains("the promotion was broken off"), "{log}");
    fs::write(&fast, "").expect("a file");
    standby.start();
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t", "nothing of it was begun");
    standby.sql("SELECT pg_promote()");
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "f");
}
