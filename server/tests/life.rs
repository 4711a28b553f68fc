//! A node's life: starts that are refused, stops of every kind, what is there afterwards.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, eventually, stop};
use protocol::ClientError;
use server::StopMode;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_stop_ends_sessions_and_a_restart_finds_everything() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    client.query("create table t (id int primary key)").await.unwrap();
    client.query("insert into t values (1)").await.unwrap();
    client.query("begin").await.unwrap();
    client.query("insert into t values (2)").await.unwrap();
    stop(server, StopMode::Fast).await;
    let ended = client.query("commit").await.unwrap_err();
    assert!(ended.is_disconnect() || ended.code().is_some_and(|code| code.as_str() == "57P01"), "{ended}");
    assert!(!place.data().join("postmaster.pid").exists());
    let control = place.run_ok("pg_controldata", &["-D", place.data().to_str().unwrap()]).await;
    assert!(control.contains("Database cluster state:               shut down\n"), "{control}");

    let server = place.start(&[]).await;
    assert_eq!(place.psql("select id from t").await, "1");
    stop(server, StopMode::Smart).await;
    for line in [
        "database system is ready to accept connections",
        "received fast shutdown request",
        "received smart shutdown request",
        "database system is shut down",
        "database system was shut down at",
    ] {
        assert!(place.log().contains(line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_stop_loses_no_acknowledged_commit() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    client.query("create table t (id int primary key)").await.unwrap();
    for id in 0..100 {
        client.query(&format!("insert into t values ({id})")).await.unwrap();
    }
    stop(server, StopMode::Immediate).await;
    let server = place.start(&[]).await;
    assert_eq!(place.psql("select count(*) from t").await, "100");
    assert!(
        place.log().contains("database system was not properly shut down; automatic recovery in progress")
    );
    let log = place.log();
    let at = |line: &str| log.find(line).unwrap_or_else(|| panic!("{line} is not in the log"));
    assert!(
        at("automatic recovery in progress") < at("redo starts at")
            && at("redo starts at") < at("redo done at")
    );
    let redo = "select records > 100, replay_lsn > redo_start_lsn, available_lsn = replay_lsn from plimsoll_stat_recovery";
    assert_eq!(place.psql(redo).await, "t|t|t");
    assert_eq!(place.psql("select count(*) from pg_stat_recovery_prefetch").await, "1");
    stop(server, StopMode::Fast).await;
    let server = place.start(&[]).await;
    assert_eq!(place.psql("select count(*) from plimsoll_stat_recovery").await, "0", "nothing was redone");
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_base_backup_that_runs() {
    // As PostgreSQL: a smart stop too waits for SQL sessions only.
    for mode in [StopMode::Fast, StopMode::Smart] {
        let place = Place::new().await;
        let server = place.start(&[]).await;
        place.psql("create table t as select repeat('x', 1000) from generate_series(1, 4000)").await;
        let copy = place.data().with_file_name("copy");
        // Two minutes or more at this rate.
        let arguments = ["-D", copy.to_str().unwrap(), "-X", "none", "-c", "fast", "-r", "32k"];
        let stopping = async {
            let running = "select count(*) from pg_stat_activity where query like 'BASE_BACKUP%'";
            eventually(&place, running, "1").await;
            while !copy.join("backup_label").exists() {
                tokio::task::yield_now().await;
            }
            let begun = std::time::Instant::now();
            stop(server, mode).await;
            assert!(begun.elapsed() < Duration::from_secs(20), "{mode:?}: {:?}", begun.elapsed());
        };
        let (backup, ()) = tokio::join!(place.run("pg_basebackup", &arguments), stopping);
        assert!(!backup.status.success(), "{mode:?}: the backup was not ended");
        let told = "terminating connection due to administrator command";
        assert!(place.log().contains(told), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smart_stop_waits_for_the_sessions() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    client.query("create table t (id int primary key)").await.unwrap();
    server.stop(StopMode::Smart);
    // New sessions are refused while old ones go on.
    loop {
        match place.connect_with("").await {
            Err(ClientError::Server(report)) => {
                assert_eq!(report.code.as_str(), "57P03");
                break;
            }
            Ok(early) => early.close().await,
            Err(other) => panic!("{other}"),
        }
    }
    client.query("insert into t values (1)").await.unwrap();
    client.close().await;
    server.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_refused_with_its_cause() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let refused = place.try_start(&[("port", "5433")]).await.unwrap_err();
    assert!(refused.to_string().contains("postmaster.pid") && refused.hint.is_some(), "{refused:?}");

    let other = Place::new().await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let listen = [("listen_addresses", "127.0.0.1"), ("port", port.as_str())];
    let refused = other.try_start(&listen).await.unwrap_err();
    assert!(refused.to_string().contains("Address already in use"), "{refused:?}");
    assert!(refused.hint.as_ref().unwrap().contains("Is another server already running on port"));
    drop(taken);
    let fine = other.start(&listen).await;
    stop(fine, StopMode::Fast).await;

    let refused = other.try_start(&[("max_conections", "5")]).await.unwrap_err();
    assert!(refused.to_string().contains("max_conections"), "{refused:?}");
    std::fs::write(other.data().join("PG_VERSION"), "14\n").unwrap();
    let refused = other.try_start(&[]).await.unwrap_err();
    assert!(refused.to_string().contains("incompatible"), "{refused:?}");
    let nowhere = Place::empty();
    let refused = nowhere.try_start(&[]).await.unwrap_err();
    assert!(refused.to_string().contains("does not exist"), "{refused:?}");
    stop(server, StopMode::Fast).await;
}

/// Names and contents of the files in a folder, at all depths.
fn contents(dir: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => {
                found.extend(contents(&path));
                found.insert(path, Vec::new());
            }
            false => {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_format_is_refused_in_words_and_left_as_it_is() {
    let place = Place::new().await;
    let file = place.data().join(wal::format::FORMAT_FILE);
    let ours = std::fs::read(&file).unwrap();
    let newest = wal::format::FORMATS.newest;
    let newer = wal::codec::seal_text(format!("plimsoll format {}\n", newest + 1)).into_bytes();
    let refusals = [
        (None, "has Plimsoll format 1, this program reads format", "of format 1, reads it."),
        (Some(newer), "this program reads format", "It was used by a newer Plimsoll"),
        (Some(b"plimsoll format 2\n".to_vec()), "is damaged", "clone the directory anew"),
    ];
    // What belongs to this node alone comes with a start: none may have begun.
    std::fs::remove_dir_all(place.data().join("plimsoll")).unwrap();
    for (format, message, hint) in refusals {
        match &format {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let before = contents(&place.data());
        let refused = place.try_start(&[]).await.unwrap_err();
        assert!(refused.message.contains(message), "{refused:?}");
        assert!(refused.hint.as_ref().is_some_and(|found| found.contains(hint)), "{refused:?}");
        assert!(contents(&place.data()) == before, "{message}: the directory was changed");
    }
    std::fs::write(&file, ours).unwrap();
    let server = place.start(&[]).await;
    assert_eq!(place.psql("show plimsoll.format_version").await, newest.to_string());
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_a_reload_changed_while_the_database_was_opened_are_in_force() {
    let place = Place::new().await;
    // The opening asks the archive for histories: that waits until this test lets go of the other end.
    let gate = place.data().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::write(place.data().join("recovery.signal"), "").unwrap();
    let set = |full_page_writes: &str, restore: &str| {
        let text = format!("full_page_writes = {full_page_writes}\nrestore_command = '{restore}'\n");
        std::fs::write(place.data().join("postgresql.auto.conf"), text).unwrap();
    };
    set("off", &format!("cat {} > /dev/null; false", gate.display()));
    let (tell, told) = tokio::sync::oneshot::channel();
    let options = place.options(&[]);
    let starting =
        tokio::spawn(server::Server::start_controlled(options, |control| drop(tell.send(control))));
    let held = tokio::task::spawn_blocking(|| std::fs::File::create(gate).unwrap()).await.unwrap();
    set("on", "false");
    told.await.unwrap().reload();
    drop(held);
    let server = starting.await.unwrap().unwrap();
    server.wait_ready().await;
    eventually(&place, "select pg_is_in_recovery()", "f").await;
    place.psql("checkpoint").await;
    assert_eq!(place.psql("select full_page_writes from pg_control_checkpoint()").await, "t");
    stop(server, StopMode::Fast).await;
}
