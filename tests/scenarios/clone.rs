//! `plimsoll clone` that is given up, or killed, at each of its stages.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scenarios::script::{Observer, Session};
use scenarios::{Node, pg_tool, plimsoll, run, run_ok, wait_until};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn clone(primary: &Node, standby: &Node) -> std::process::Command {
    let mut command = plimsoll();
    command.args(["clone", "-S", "boat", "--from", &primary.conninfo(), "-D"]).arg(standby.data());
    command
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("it runs");
}

/// The phases that a clone tells, in order.
const STAGES: [&str; 6] = [
    "waiting for a checkpoint",
    "copying files",
    "receiving the last WAL",
    "verifying",
    "making it durable",
    "finishing",
];

#[test]
fn a_clone_given_up_at_each_stage_leaves_nothing_or_is_whole() {
    let primary = Node::builder().start();
    let slots = "SELECT count(*) FROM pg_replication_slots";
    for stage in STAGES {
        for how in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
            let standby = Node::unprepared();
            let mut child = clone(&primary, &standby)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
            let mut line = String::new();
            while line.trim_end() != stage {
                line.clear();
                assert_ne!(errors.read_line(&mut line).expect("a line"), 0, "no {stage}");
            }
            signal(&child, how);
            let ended = child.wait().expect("its end");
            let mut said = String::new();
            errors.read_to_string(&mut said).expect("its words");
            if ended.success() {
                // It was faster, or in its last moments.
                assert_eq!(primary.sql(slots), "1", "{stage} {how}");
                primary.sql("SELECT pg_drop_replication_slot('boat')");
                assert!(!standby.data().join("plimsoll.clone").exists());
                continue;
            }
            if how != Signal::SIGKILL {
                assert!(said.contains("is as it was before"), "{stage} {how}: {said}");
                assert!(!standby.data().exists(), "{stage} {how}");
            }
            if how == Signal::SIGKILL && stage == "finishing" {
                // The slot may be there for good by then: the next try uses it.
                wait_until("nobody uses the slot", LIMIT, || {
                    let used = primary.sql("SELECT count(*) FROM pg_replication_slots WHERE active");
                    if used == "0" { Ok(()) } else { Err(format!("{used} are used")) }
                });
                let again = Node::unprepared();
                run_ok(&mut clone(&primary, &again));
                assert_eq!(primary.sql(slots), "1", "{stage} {how}");
                primary.sql("SELECT pg_drop_replication_slot('boat')");
                continue;
            }
            wait_until("a temporary slot goes with its session", LIMIT, || {
                let now = primary.sql(slots);
                if now == "0" { Ok(()) } else { Err(format!("{stage} {how}: {now} slots")) }
            });
            if how != Signal::SIGKILL && stage == "copying files" {
                run_ok(&mut clone(&primary, &standby));
                primary.sql("SELECT pg_drop_replication_slot('boat')");
            }
        }
    }
}

#[test]
fn a_slot_that_is_there_is_used_and_stays() {
    let primary = Node::builder().start();
    primary.sql("SELECT pg_create_physical_replication_slot('boat', true)");
    let (first, second) = (Node::unprepared(), Node::unprepared());
    run_ok(&mut clone(&primary, &first));
    run_ok(&mut clone(&primary, &second));
    let kept = "SELECT slot_name, temporary, restart_lsn IS NOT NULL FROM pg_replication_slots";
    assert_eq!(primary.sql(kept), "boat|f|t");
}

#[test]
fn a_commit_does_not_count_on_a_copy_that_is_still_being_made() {
    let primary = Node::builder().start();
    primary.sql("CREATE TABLE t (i int PRIMARY KEY)");
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.sql("SELECT pg_reload_conf()");
    let target = primary.folder().join("copy");
    let mut backup = primary.tool("pg_basebackup");
    backup.args(["-X", "stream", "-c", "fast", "--status-interval=1", "--max-rate=32", "-D"]).arg(&target);
    let mut backup = backup.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("pg_basebackup runs");
    let limit = Duration::from_secs(60);
    let mut observer = Observer::connect(&primary.conninfo());
    let session = Session::connect(&primary.conninfo());
    session.say("SET synchronous_commit = remote_write");
    session.begin("INSERT INTO t VALUES (1)");
    observer.wait_for_event(session.pid, "SyncRep");
    let end = observer.value("SELECT pg_current_wal_flush_lsn()");
    let reached = format!("SELECT count(*) FROM pg_stat_replication WHERE write_lsn >= '{end}'");
    wait_until("the copy has it", limit, || match observer.value(&reached).as_str() {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    });
    observer.wait_for_event(session.pid, "SyncRep");
    assert_eq!(session.poll(), None, "nobody else holds it");
    backup.kill().expect("it runs");
    backup.wait().expect("it ends");
    primary.sql("ALTER SYSTEM RESET synchronous_standby_names");
    primary.sql("SELECT pg_reload_conf()");
    assert_eq!(session.answer(), "ok 1");
}

/// Replay along such a branch would never undo what its files hold of the one that was left.
#[test]
fn a_clone_of_a_standby_does_not_follow_a_branch_that_leaves_before_what_its_files_hold() {
    let primary = Node::builder().start();
    primary.sql("CREATE TABLE t (n int, filler text)");
    let behind = Node::builder().clone_from(&primary);
    // It writes most pages long before a checkpoint.
    let ahead = Node::builder().setting("shared_buffers", "1MB").clone_from(&primary);
    behind.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    behind.stop();
    primary.sql("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 8000) g");
    ahead.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    let copy = Node::unprepared();
    run_ok(ahead.tool("pg_basebackup").arg("-D").arg(copy.data()).args(["-X", "none", "-c", "fast"]));
    ahead.stop();
    primary.kill_9();
    behind.start();
    run_ok(plimsoll().arg("promote").arg("-D").arg(behind.data()));
    behind.sql("INSERT INTO t SELECT g, repeat('y', 1000) FROM generate_series(1, 16000) g");
    copy.alter_while_stopped("primary_conninfo", &behind.conninfo());
    copy.set("wal_retrieve_retry_interval", "100ms");
    std::fs::write(copy.data().join("standby.signal"), "").expect("a signal file");
    copy.start_without_waiting();
    wait_until("it says why it stays behind", LIMIT, || match copy.log() {
        log if log.contains("before current recovery point") && log.contains("clone it anew") => Ok(()),
        log => Err(log),
    });
    let refused = copy.try_sql("SELECT count(*) FROM t");
    assert!(refused.stderr.contains("not yet accepting connections"), "{refused:?}");
}

#[test]
fn a_clone_by_a_service_follows_by_all_that_the_service_says() {
    let node = Node::builder().start();
    let (services, copy) = (node.folder().join("services"), node.folder().join("copy"));
    let words = "password=secret\nconnect_timeout=7\ntarget_session_attrs=primary\nkeepalives_idle=9\n";
    let place = format!("host={}\nport={}\nuser=postgres\n", node.folder().display(), node.port());
    std::fs::write(&services, format!("[boat]\n{place}{words}")).expect("a file");
    let mut clone = plimsoll();
    run_ok(clone.env("PGSERVICEFILE", &services).args(["clone", "--from", "service=boat", "-D"]).arg(&copy));
    let settings = std::fs::read_to_string(copy.join("postgresql.auto.conf")).expect("a file");
    for word in words.lines() {
        assert!(settings.contains(word), "{word}: {settings}");
    }
}

#[test]
fn what_a_copy_goes_without_is_told_to_who_makes_it_and_in_the_servers_log() {
    let primary = Node::builder().setting("include_dir", "conf.d").init();
    let elsewhere = primary.folder().join("sync.conf");
    std::fs::write(&elsewhere, "work_mem = '7MB'\n").expect("a file");
    std::fs::create_dir(primary.data().join("conf.d")).expect("a folder");
    symlink(elsewhere, primary.data().join("conf.d/10-sync.conf")).expect("a link");
    std::fs::write(primary.data().join(OsStr::from_bytes(b"caf\xE9")), "x").expect("a file");
    primary.start();
    assert_eq!(primary.sql("SHOW work_mem"), "7MB");
    let warnings = [
        "skipping special file \"./conf.d/10-sync.conf\"",
        "skipping file \"./caf\\xE9\": its name is not UTF-8",
    ];
    let copy = Node::unprepared();
    let said = run(plimsoll().args(["clone", "--from", &primary.conninfo(), "-D"]).arg(copy.data()));
    assert_eq!(said.code, 0, "{said:?}");
    for warning in warnings {
        assert!(said.stderr.contains(&format!("warning: {warning}")), "{warning}: {}", said.stderr);
        let logged = primary.log().matches(&format!("WARNING:  {warning}")).count();
        assert_eq!(logged, 1, "{warning}: {}", primary.log());
    }
    copy.start();
    assert_eq!(copy.sql("SHOW work_mem"), "4MB");
    let backup = primary.folder().join("backup");
    let said = run(primary.tool("pg_basebackup").args(["-X", "none", "-c", "fast", "-D"]).arg(&backup));
    assert_eq!(said.code, 0, "{said:?}");
    for warning in warnings {
        assert!(said.stderr.contains(&format!("WARNING:  {warning}")), "{warning}: {}", said.stderr);
    }
    run_ok(pg_tool("pg_verifybackup").arg("-n").arg(backup));
}

/// Otherwise a primary that comes back asks itself whether it was replaced, and not the copy that was
/// promoted.
#[test]
fn a_clone_does_not_advertise_the_address_of_its_source() {
    const NAME: &str = "plimsoll.advertised_address";
    let primary = Node::builder().setting(NAME, "host=127.0.0.1 port=1").start();
    primary.alter(&format!("SET {NAME} = 'host=127.0.0.1 port=2'"));
    let copy = Node::unprepared();
    let said = run_ok(plimsoll().args(["clone", "--from", &primary.conninfo(), "-D"]).arg(copy.data()));
    assert!(said.contains(NAME), "{said}");
    copy.start();
    assert_eq!(copy.sql(&format!("SHOW {NAME}")), "");
    // What its owner writes counts.
    copy.set(NAME, "host=127.0.0.1 port=3");
    copy.sql("SELECT pg_reload_conf()");
    copy.wait_for(&format!("SHOW {NAME}"), "host=127.0.0.1 port=3");
}

/// Passes on what a client and a server say to each other, until either is gone.
fn pass_on(client: TcpStream, socket: &Path) -> [JoinHandle<()>; 2] {
    let server = UnixStream::connect(socket).expect("the server is there");
    let (mut from, mut to) = (client.try_clone().expect("it"), server.try_clone().expect("it"));
    let there = std::thread::spawn(move || {
        // Either side may be gone.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut from, mut to) = (server, client);
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    [there, back]
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

/// Lets two connections through to a server, and takes no more. Returns the port.
fn two_connections_to(server: &Node) -> u16 {
    let (listener, port) = listener();
    let socket = server.socket();
    std::thread::spawn(move || {
        let mut clients = vec![listener.accept().expect("a connection").0];
        let mut pumps = Vec::new();
        let mut listener = Some(listener);
        while let Some(client) = clients.pop() {
            pumps.extend(pass_on(client, &socket));
            // Closed before the second client hears anything.
            clients.extend(listener.take().map(|last| last.accept().expect("a connection").0));
        }
        pumps.into_iter().for_each(|pump| pump.join().expect("it ends"));
    });
    port
}

/// Files of one server and log of another need not fit.
#[test]
fn a_clone_takes_files_and_log_from_one_of_several_hosts() {
    let primary = Node::builder().start();
    let other = Node::builder().setting("log_replication_commands", "on").clone_from(&primary);
    // The command asks once before the clone who may read the files, and the clone connects twice.
    let first = two_connections_to(&primary);
    let hosts = format!("host=127.0.0.1,{} port={first},{}", other.folder().display(), other.port());
    let copy = Node::unprepared();
    let from = format!("{hosts} user=postgres sslmode=disable");
    let said = run(plimsoll().args(["clone", "--from", &from, "-D"]).arg(copy.data()));
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains(&first.to_string()), "{said:?}");
    assert!(!other.log().contains("plimsoll_clone_"), "{}", other.log());
    assert!(!copy.data().exists());
}

/// A way to a server whose connections but the first wait until they may pass. Returns the port, what tells
/// that one waits, and what lets all pass.
fn held_way_to(server: &Node) -> (u16, Receiver<()>, Sender<()>) {
    let (listener, port) = listener();
    let socket = server.socket();
    let (waits, waiting) = channel();
    let (pass, passing) = channel::<()>();
    std::thread::spawn(move || {
        pass_on(listener.accept().expect("a connection").0, &socket);
        let held = listener.accept().expect("a connection").0;
        // The test may have failed, and then nobody waits.
        let _ = waits.send(());
        let _ = passing.recv();
        pass_on(held, &socket);
        while let Ok((client, _)) = listener.accept() {
            pass_on(client, &socket);
        }
    });
    (port, waiting, pass)
}

#[test]
fn a_clone_that_connects_slowly_leaves_what_was_made_in_its_target_meanwhile() {
    let primary = Node::builder().start();
    let (port, waiting, pass) = held_way_to(&primary);
    let copy = Node::unprepared();
    let from = format!("host=127.0.0.1 port={port} user=postgres sslmode=disable");
    let slow = plimsoll()
        .args(["clone", "--from", &from, "-D"])
        .arg(copy.data())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // The command has asked who may read the files, and the clone has looked at its target.
    waiting.recv_timeout(LIMIT).expect("the clone connects");
    run_ok(plimsoll().args(["clone", "--from", &primary.conninfo(), "-D"]).arg(copy.data()));
    copy.start();
    run_ok(plimsoll().arg("promote").arg("-D").arg(copy.data()));
    copy.sql("CREATE TABLE mine (n int); INSERT INTO mine VALUES (1)");
    pass.send(()).expect("it waits");
    let slow = slow.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&slow.stderr);
    assert!(!slow.status.success() && said.contains("exists but is not empty"), "{said}");
    copy.sql("INSERT INTO mine VALUES (2)");
    copy.kill_9();
    copy.start();
    assert_eq!(copy.sql("SELECT count(*) FROM mine"), "2");
}

/// What the clone writes for its life as a standby must not outweigh that.
#[test]
fn a_clone_that_serves_as_a_backup_recovers_to_the_target_in_its_postgresql_conf() {
    let primary = Node::builder()
        .setting("recovery_target_name", "of a former recovery")
        .setting("archive_mode", "on")
        .init();
    let archive = primary.folder().join("archive");
    std::fs::create_dir(&archive).expect("a folder");
    primary.set("archive_command", &format!("cp \"%p\" {}/%f", archive.display()));
    primary.start();
    primary.sql("CREATE TABLE t (n int)");
    let copy = Node::unprepared();
    let said = run_ok(plimsoll().args(["clone", "--from", &primary.conninfo(), "-D"]).arg(copy.data()));
    assert!(said.contains("recovery_target_name was the cloned server's own"), "{said}");
    primary.sql("INSERT INTO t VALUES (1)");
    primary.sql("SELECT pg_create_restore_point('before the mistake')");
    primary.sql("DELETE FROM t");
    let last = primary.sql("SELECT pg_walfile_name(pg_switch_wal())");
    wait_until("the log is archived", LIMIT, || match archive.join(&last).exists() {
        true => Ok(()),
        false => Err(primary.log()),
    });
    primary.stop();
    std::fs::rename(copy.data().join("standby.signal"), copy.data().join("recovery.signal"))
        .expect("a signal");
    copy.set("archive_mode", "off");
    copy.set("restore_command", &format!("cp {}/%f \"%p\"", archive.display()));
    copy.set("recovery_target_name", "before the mistake");
    copy.set("recovery_target_action", "promote");
    copy.start();
    copy.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(copy.sql("SELECT count(*) FROM t"), "1");
}
