//! Bad input: one line with the cause and what to do, exit code 1, and nothing touched.

use scenarios::{Node, Outcome, plimsoll, run, run_ok, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The refusal is one line of standard error that names each of `words`, with exit code 1.
fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{}", outcome.stderr);
    for word in words {
        assert!(outcome.stderr.contains(word), "\"{word}\" in: {}", outcome.stderr);
    }
}

/// Every file below a folder with its contents, except this node's own log and locks, where a refusal is
/// noted.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.ends_with("plimsoll") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).expect("readable"));
            }
        }
    }
    found
}

#[test]
fn init_refuses_a_folder_that_is_not_empty() {
    let node = Node::unprepared();
    fs::create_dir(node.data()).expect("a folder");
    fs::write(node.data().join("diary.txt"), "mine").expect("a file");
    let outcome = run(plimsoll().arg("init").arg("-D").arg(node.data()));
    assert_refused(&outcome, &["exists but is not empty", &node.data().display().to_string()]);
    assert_eq!(contents(&node.data()).len(), 1);
}

#[test]
fn start_refuses_a_folder_that_is_no_data_directory() {
    let node = Node::unprepared();
    fs::create_dir(node.data()).expect("a folder");
    fs::write(node.data().join("diary.txt"), "mine").expect("a file");
    let outcome = run(plimsoll().args(["start", "-d", "-D"]).arg(node.data()));
    assert_refused(&outcome, &["is not a database cluster directory", "plimsoll init"]);
    assert_eq!(contents(&node.data()).len(), 1);
}

#[test]
fn a_directory_that_cannot_be_looked_at_is_told_as_what_it_is() {
    let node = Node::unprepared();
    // Also who may read everything cannot look at this.
    let itself = node.folder().join("itself");
    std::os::unix::fs::symlink("itself", &itself).expect("a link");
    for command in ["start", "status", "promote", "stop"] {
        let outcome = run(plimsoll().arg(command).arg("-D").arg(&itself));
        // Whether a server runs there is not known, says 4.
        let code = if command == "status" { 4 } else { 1 };
        assert_eq!(outcome.code, code, "{command}: {outcome:?}");
        for words in ["could not", "itself", "Too many levels of symbolic links"] {
            assert!(outcome.stderr.contains(words), "{command}: {outcome:?}");
        }
        assert!(!outcome.stderr.contains("os error"), "{}", outcome.stderr);
    }
    let missing = node.folder().join("no such");
    let outcome = run(plimsoll().args(["start", "-D"]).arg(&missing));
    assert_refused(&outcome, &[&format!("`plimsoll init -D '{}'`", missing.display())]);
    let outcome = run(plimsoll().args(["status", "-D"]).arg(&missing));
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(outcome.stderr.contains("does not exist"), "{outcome:?}");
}

#[test]
fn a_source_that_is_neither_a_folder_nor_a_connection_string_is_told_so() {
    let node = Node::builder().init();
    let outcome = run(plimsoll().args(["rewind", "--source", "/nonexistent", "-D"]).arg(node.data()));
    let words = ["source \"/nonexistent\" is neither", "No such file or directory", "connection string"];
    assert_refused(&outcome, &words);
}

#[test]
fn a_second_server_on_a_directory_is_refused() {
    let node = Node::builder().start();
    let before = fs::read(node.data().join("postmaster.pid")).expect("the lock file");
    let outcome = run(plimsoll().args(["start", "-d", "-p", "1", "-D"]).arg(node.data()));
    assert_refused(&outcome, &["another server", "postmaster.pid"]);
    // The lock is the kernel's: without the file it holds all the same.
    fs::remove_file(node.data().join("postmaster.pid")).expect("removed");
    let outcome = run(plimsoll().args(["start", "-d", "-p", "1", "-D"]).arg(node.data()));
    assert_refused(&outcome, &["another server"]);
    fs::write(node.data().join("postmaster.pid"), before).expect("put back");
    assert_eq!(node.sql("SELECT 1"), "1");
}

#[test]
fn a_control_file_of_another_version_or_with_flipped_bits_is_refused() {
    let node = Node::builder().init();
    let path = node.data().join("global/pg_control");
    let sound = fs::read(&path).expect("pg_control");
    for (offset, words) in [(8, ["pg_control", "version"]), (24, ["pg_control", "checksum"])] {
        let mut broken = sound.clone();
        broken[offset] ^= 0x40;
        fs::write(&path, &broken).expect("written");
        let before = contents(&node.data());
        assert_refused(&run(plimsoll().args(["start", "-d", "-D"]).arg(node.data())), &words);
        assert!(before == contents(&node.data()), "the refused start changed something");
    }
    fs::write(&path, &sound[..100]).expect("written");
    assert_refused(&run(plimsoll().args(["start", "-d", "-D"]).arg(node.data())), &["pg_control"]);
    fs::write(&path, &sound).expect("written");
    node.start();
}

#[test]
fn a_small_file_that_is_too_large_or_no_text_is_named_and_starts_nobody() {
    let node = Node::builder().init();
    fs::create_dir_all(node.data().join("plimsoll")).expect("a folder");
    let (large, binary) = (vec![b'x'; 1 << 20], vec![0xFF, b'\n']);
    for (name, bytes, why) in [
        ("PG_VERSION", &binary, "/PG_VERSION\": it is not UTF-8"),
        ("PG_VERSION", &large, "/PG_VERSION\": it has more than 64 bytes"),
        ("PLIMSOLL_VERSION", &large, "is damaged"),
        ("backup_label", &binary, "invalid data"),
        ("plimsoll/handover", &large, "is damaged"),
    ] {
        let path = node.data().join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, bytes).expect("written");
        let outcome = node.try_start();
        assert_ne!(outcome.code, 0, "{name}: {outcome:?}");
        let said = [outcome.stderr, node.log()].concat();
        let names = |line: &str| line.contains(name) && line.contains(why);
        assert!(said.lines().any(names), "{name}: {said}");
        match before {
            Some(bytes) => fs::write(&path, bytes).expect("put back"),
            None => fs::remove_file(&path).expect("removed"),
        }
    }
    node.start();
}

#[test]
fn a_port_in_use_is_refused_and_named() {
    let node = Node::builder().init();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let outcome = run(plimsoll()
        .args([
            "start",
            "-d",
            "-p",
            &port,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-D",
        ])
        .arg(node.data()));
    assert_refused(&outcome, &["127.0.0.1", &port, "in use"]);
    assert!(!node.data().join("postmaster.pid").exists());
}

#[test]
fn a_standby_of_another_cluster_is_refused() {
    let (primary, other) = (Node::builder().start(), Node::builder().start());
    let standby = Node::builder().clone_from(&primary);
    standby.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{}'", other.conninfo()));
    standby.stop();
    standby.start();
    scenarios::wait_until("the standby names the mismatch", std::time::Duration::from_secs(30), || {
        let log = standby.log();
        if log.contains("database system identifier differs between the primary and standby") {
            Ok(())
        } else {
            Err(log)
        }
    });
    primary.sql("CREATE TABLE t (i int)");
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn clone_refuses_a_target_that_exists_and_a_source_that_does_not() {
    let primary = Node::builder().start();
    let target = Node::unprepared();
    fs::create_dir(target.data()).expect("a folder");
    fs::write(target.data().join("diary.txt"), "mine").expect("a file");
    let outcome = run(plimsoll().args(["clone", "--from", &primary.conninfo(), "-D"]).arg(target.data()));
    assert_refused(&outcome, &["exists but is not empty"]);
    assert_eq!(contents(&target.data()).len(), 1);

    let nowhere = Node::unprepared();
    let outcome = run(plimsoll().args(["clone", "--from", &nowhere.conninfo(), "-D"]).arg(nowhere.data()));
    assert_refused(&outcome, &["connection to server", "failed", "Is the server running there"]);
    assert!(!nowhere.data().exists());
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name() {
    let node = Node::builder().init();
    node.set("shared_bufers", "1MB");
    let outcome = run(plimsoll().args(["start", "-d", "-D"]).arg(node.data()));
    assert_refused(&outcome, &["shared_bufers", "shared_buffers", "postgresql.conf"]);
}

#[test]
fn status_and_stop_tell_a_running_server_from_a_stopped_one() {
    let node = Node::builder().start();
    let said = run_ok(plimsoll().arg("status").arg("-D").arg(node.data()));
    assert!(said.contains("server is running"), "{said}");
    node.stop();
    let stopped = run(plimsoll().arg("status").arg("-D").arg(node.data()));
    assert_eq!((stopped.code, stopped.stdout.contains("no server running")), (3, true), "{stopped:?}");
    let again = run(plimsoll().arg("stop").arg("-D").arg(node.data()));
    assert_refused(&again, &["postmaster.pid", "Is server running?"]);
}

#[test]
fn what_a_start_refuses_alter_system_refuses_first_and_a_reload_warns_of() {
    let node = Node::builder().start();
    let refused = |change: &str, message: &str| {
        let before = fs::read_to_string(node.data().join("postgresql.auto.conf")).expect("a file");
        let outcome = node.try_sql(&format!("ALTER SYSTEM SET {change}"));
        assert!(outcome.code != 0 && outcome.stderr.contains(message), "{change}: {outcome:?}");
        let after = fs::read_to_string(node.data().join("postgresql.auto.conf")).expect("a file");
        assert_eq!(after, before, "{change}");
    };
    refused(
        "recovery_target_time = 'garbage'",
        "invalid value for parameter \"recovery_target_time\": \"garbage\"",
    );
    refused("ssl = on", "could not load server certificate file");
    refused("plimsoll.peers = 'host=a; hots=b'", "invalid value for parameter \"plimsoll.peers\"");
    // A mistyped name is no customized setting: what it was to do would not be done.
    refused("plimsol.peers = 'host=a'", "unrecognized configuration parameter \"plimsol.peers\"");
    refused("TimeZone = 'Nowhere/X'", "invalid value for parameter \"TimeZone\": \"Nowhere/X\"");
    refused("log_timezone = 'Nowhere/X'", "invalid value for parameter \"log_timezone\"");
    // One alone is good, and a second one makes it wrong; also a time that only this order of days and months
    // cannot read.
    node.sql("ALTER SYSTEM SET recovery_target_xid = '700'");
    refused("recovery_target_name = 'x'", "multiple recovery targets specified");
    node.sql("ALTER SYSTEM RESET recovery_target_xid");
    refused("recovery_target_time = '25/12/2026 10:00'", "recovery_target_time");
    node.sql("ALTER SYSTEM SET max_wal_senders = 0");
    node.sql("ALTER SYSTEM SET wal_level = minimal");
    refused("archive_mode = on", "WAL archival cannot be enabled when wal_level is");
    node.sql("ALTER SYSTEM RESET wal_level");
    node.sql("ALTER SYSTEM RESET max_wal_senders");
    let session = node.try_sql("SET TimeZone = 'Nowhere/X'");
    assert!(session.stderr.contains("invalid value for parameter \"TimeZone\""), "{session:?}");
    assert_eq!(node.sql("SET TimeZone = 'europe/berlin'; SHOW TimeZone"), "Europe/Berlin");
    assert_eq!(
        node.sql("SET TIME ZONE -3.5; SELECT '2026-01-01 00:00+00'::timestamptz"),
        "2025-12-31 20:30:00-03:30"
    );

    // A file that is edited by hand: the values in force stay, and the log tells.
    let good = fs::read_to_string(node.data().join("postgresql.conf")).expect("a file");
    for (lines, message) in [
        (&[("TimeZone", "Nowhere/X")][..], "invalid value for parameter \"TimeZone\": \"Nowhere/X\""),
        (
            &[("recovery_target_time", "garbage")],
            "invalid value for parameter \"recovery_target_time\": \"garbage\"",
        ),
        (
            &[("recovery_target_xid", "5"), ("recovery_target_lsn", "0/5")],
            "multiple recovery targets specified",
        ),
    ] {
        node.append_settings(
            &lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>(),
        );
        let zone = node.sql("SHOW TimeZone");
        let seen = node.log().matches(message).count();
        node.sql("SELECT pg_reload_conf()");
        wait_until("the log tells", Duration::from_secs(60), || {
            if node.log().matches(message).count() > seen { Ok(()) } else { Err(node.log()) }
        });
        assert_eq!(node.sql("SHOW TimeZone"), zone);
        // What is wrong already can be mended, and is nobody's fault who changes something else.
        node.sql("ALTER SYSTEM SET work_mem = '5MB'");
        fs::write(node.data().join("postgresql.conf"), &good).expect("a file");
        node.sql("SELECT pg_reload_conf()");
    }
    node.stop();
    node.start();
}

#[test]
fn a_recovery_conf_is_refused_and_not_passed_over() {
    let node = Node::builder().init();
    fs::write(node.data().join("recovery.conf"), "standby_mode = on\n").expect("a file");
    let refused = node.try_start();
    assert_ne!(refused.code, 0, "{refused:?}");
    let log = node.log();
    assert!(log.contains("using recovery command file \"recovery.conf\" is not supported"), "{log}");
    assert!(log.contains("standby.signal"), "{log}");
}
