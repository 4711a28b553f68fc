//! What a standby received is kept, and is told, mended or refused where it cannot be read.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, eventually, logged, standby_of, stop};
use server::StopMode;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;
use wal::{Lsn, SegmentNumber, SegmentSize};

/// The file of a log position that the server tells, and the offset in it.
async fn place_of(place: &Place, lsn: &str) -> (PathBuf, u64) {
    let told = place.psql(lsn).await;
    let (high, low) = told.split_once('/').unwrap();
    let [high, low] = [high, low].map(|half| u64::from_str_radix(half, 16).unwrap());
    let (at, size) = (Lsn::new(high << 32 | low), SegmentSize::DEFAULT);
    let entries = std::fs::read_dir(place.data().join("pg_wal")).unwrap().map(|entry| entry.unwrap());
    let mut names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let is_its = |name: &String| {
        SegmentNumber::parse_file_name(name, size).is_some_and(|(_, segment)| segment == size.segment_of(at))
    };
    (place.data().join("pg_wal").join(names.find(is_its).unwrap()), size.offset_of(at))
}

fn flip(path: &std::path::Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 16], offset).unwrap();
}

const REPLAYED: &str = "select pg_last_wal_replay_lsn()";
const RECEIVED: &str = "select pg_last_wal_receive_lsn()";

/// A byte of a record's data.
const DATA: u64 = 40;
/// One of its length, which says more than has come then.
const LENGTH: u64 = 1;

/// A pair; the standby has received rows that it has not replayed, and one bit of the first is another one,
/// in the byte `at` of its record.
async fn damaged_pair(at: u64) -> (Place, server::Server, Place, server::Server) {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "s", &[("wal_retrieve_retry_interval", "100ms")]).await;
    eventually(&copy, "select count(*) from pg_class where relname = 't'", "1").await;
    copy.psql("select pg_wal_replay_pause()").await;
    eventually(&copy, "select pg_get_wal_replay_pause_state()", "paused").await;
    for row in 1..=20 {
        place.psql(&format!("insert into t values ({row})")).await;
    }
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, RECEIVED, &end).await;
    let (file, offset) = place_of(&copy, REPLAYED).await;
    flip(&file, offset + at);
    (place, primary, copy, standby)
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_what_was_received_is_told_and_mended_by_the_primary() {
    for at in [DATA, LENGTH] {
        let (_place, primary, copy, standby) = damaged_pair(at).await;
        copy.psql("select pg_wal_replay_resume()").await;
        logged(&copy, "WAL is damaged: ").await;
        eventually(&copy, "select count(*) from t", "20").await;
        stop(standby, StopMode::Fast).await;
        stop(primary, StopMode::Fast).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_has_lost_what_it_received_is_not_promoted() {
    let (_place, primary, copy, standby) = damaged_pair(DATA).await;
    stop(primary, StopMode::Immediate).await;
    copy.psql("select pg_wal_replay_resume()").await;
    logged(&copy, "WAL is damaged: ").await;
    let refused = copy.run("psql", &["-X", "-c", "select pg_promote()"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("this server has lost log that it received: WAL is damaged: "), "{said}");
    assert!(said.contains("A start without plimsoll/received gives up"), "{said}");
    assert_eq!(copy.psql("select pg_is_in_recovery(), count(*) from t").await, "t|0");
    stop(standby, StopMode::Immediate).await;
    std::fs::remove_file(copy.data().join("standby.signal")).unwrap();
    let error = copy.try_start(&[]).await.err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("WAL is damaged: ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_of_replayed_log_that_the_disk_has_otherwise_is_replaced_by_the_primarys() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "s", &[("wal_retrieve_retry_interval", "100ms")]).await;
    place.psql("insert into t values (1)").await;
    eventually(&copy, "select count(*) from t", "1").await;
    // A row is shown before its log is durable here, and only so far is replay told: the bit would lie
    // before it.
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, REPLAYED, &end).await;
    let (file, offset) = place_of(&copy, REPLAYED).await;
    let before = std::fs::read(&file).unwrap();
    flip(&file, offset - 20);
    place.psql("select pg_terminate_backend(pid) from pg_stat_replication").await;
    logged(&copy, "and was replaced by that of the primary").await;
    let upto = usize::try_from(offset).unwrap();
    assert!(std::fs::read(&file).unwrap()[..upto] == before[..upto], "it is what it was");
    place.psql("insert into t values (2)").await;
    eventually(&copy, "select count(*) from t", "2").await;
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}

/// A standby that has received 20 rows, the first of them with a bad bit if `damaged`; its primary was put
/// back to before them and has written `rows` of another log since. The standby's own file, and what it had.
async fn put_back(
    damaged: bool,
    rows: u32,
) -> (Place, server::Server, Place, server::Server, PathBuf, Vec<u8>) {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let settings = [("wal_retrieve_retry_interval", "100ms")];
    let (copy, standby) = standby_of(&place, "s", &settings).await;
    eventually(&copy, "select count(*) from pg_class where relname = 't'", "1").await;
    stop(primary, StopMode::Fast).await;
    let before = place.data().with_extension("before");
    let copied = |from: &PathBuf, to: &PathBuf| {
        let done = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(done.success());
    };
    copied(&place.data(), &before);
    let primary = place.start(&[]).await;
    let begun = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, &format!("select pg_last_wal_replay_lsn() >= '{begun}'"), "t").await;
    copy.psql("select pg_wal_replay_pause()").await;
    eventually(&copy, "select pg_get_wal_replay_pause_state()", "paused").await;
    let (file, offset) = place_of(&copy, REPLAYED).await;
    for row in 1..=20 {
        place.psql(&format!("insert into t values ({row})")).await;
    }
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, RECEIVED, &end).await;
    stop(standby, StopMode::Immediate).await;
    stop(primary, StopMode::Immediate).await;
    if damaged {
        flip(&file, offset + 40);
    }
    let had = std::fs::read(&file).unwrap();
    std::fs::remove_dir_all(place.data()).unwrap();
    copied(&before, &place.data());
    let primary = place.start(&[]).await;
    for row in 100..100 + rows {
        place.psql(&format!("insert into t values ({row})")).await;
    }
    let standby = copy.start(&settings).await;
    (place, primary, copy, standby, file, had)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_is_not_taken_for_damage_and_nothing_of_ones_own_is_written_over() {
    let differs = "WAL of the primary differs from WAL here";
    for (damaged, rows, words) in
        [(false, 1, differs), (true, 40, differs), (true, 1, "WAL of the primary ends at")]
    {
        let (_place, primary, copy, standby, file, had) = put_back(damaged, rows).await;
        logged(&copy, words).await;
        assert!(std::fs::read(&file).unwrap() == had, "damaged: {damaged}, rows: {rows}");
        assert_eq!(copy.psql("select count(*) from t where id >= 100").await, "0");
        stop(standby, StopMode::Immediate).await;
        stop(primary, StopMode::Immediate).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_archive_cannot_read_of_what_was_received_is_kept_as_it_is_here() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    let (copy, standby) = standby_of(&place, "s", &[]).await;
    place.psql("create table t as select generate_series(1, 1000) id").await;
    // Rows are seen before their log is durable, and replayed.
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, &format!("select pg_last_wal_replay_lsn() >= '{end}'"), "t").await;
    let (file, offset) = place_of(&copy, REPLAYED).await;
    let archive = tempfile::tempdir().unwrap();
    let archived = archive.path().join(file.file_name().unwrap());
    std::fs::copy(&file, &archived).unwrap();
    let (had, upto) = (std::fs::read(&file).unwrap(), usize::try_from(offset).unwrap());
    flip(&archived, offset - 100);
    stop(standby, StopMode::Immediate).await;
    stop(primary, StopMode::Immediate).await;
    let restore = restore_from(archive.path());
    let standby = copy.start(&[("restore_command", restore.as_str())]).await;
    logged(&copy, "restored log file").await;
    eventually(&copy, "select count(*) from pg_class where relname = 't'", "1").await;
    assert_eq!(copy.psql("select count(*) from t").await, "1000");
    assert!(std::fs::read(&file).unwrap()[..upto] == had[..upto], "it is what was received");
    stop(standby, StopMode::Immediate).await;
}

fn restore_from(archive: &std::path::Path) -> String {
    format!("cp {}/%f \"%p\"", archive.display())
}

/// The log of a server, as its archive has it.
fn archive_all(place: &Place) -> tempfile::TempDir {
    let archive = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(place.data().join("pg_wal")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), archive.path().join(entry.file_name())).unwrap();
        }
    }
    archive
}

/// A server and another one on a copy of its directory, both with as much log of the same lengths in `own` or
/// `twin` more segments, and crashed; the last segment that both ended.
async fn twins(own: u32, twin: u32) -> (Place, Place, String) {
    let (place, other) = (Place::new().await, Place::empty());
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key, x text); insert into t values (1, 'base')").await;
    stop(primary, StopMode::Fast).await;
    let copied = std::process::Command::new("cp").arg("-a").args([place.data(), other.data()]).status();
    assert!(copied.unwrap().success());
    let mut ended = String::new();
    for (node, what, segments) in [(&place, "own", own), (&other, "two", twin)] {
        let server = node.start(&[]).await;
        for segment in 0..segments {
            node.psql(&format!("insert into t values ({}, '{what}')", segment + 2)).await;
            if segment + 1 == own {
                ended = node.psql("select pg_walfile_name(pg_current_wal_lsn())").await;
            }
            node.psql("select pg_switch_wal()").await;
        }
        stop(server, StopMode::Immediate).await;
    }
    (place, other, ended)
}

const ROWS: &str = "select string_agg(x, ' ' order by id) from t";

#[tokio::test(flavor = "multi_thread")]
async fn another_log_of_an_archive_is_not_taken_behind_the_end_of_ones_own_either() {
    // Without the segment before, nobody can tell.
    for (lacks_it, words) in [
        (false, "from what this server has received, so"),
        (true, "which would tell whether that is the log which goes on here"),
    ] {
        let (place, twin, ended) = twins(1, 3).await;
        let archive = archive_all(&twin);
        if lacks_it {
            std::fs::remove_file(archive.path().join(&ended)).unwrap();
        }
        std::fs::write(place.data().join("standby.signal"), "").unwrap();
        let restore = restore_from(archive.path());
        let standby = place.start(&[("restore_command", restore.as_str())]).await;
        logged(&place, words).await;
        assert_eq!(place.psql(ROWS).await, "base own");
        // It hears a promotion.
        assert_eq!(place.psql("select pg_promote()").await, "t");
        assert_eq!(place.psql(ROWS).await, "base own");
        stop(standby, StopMode::Immediate).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_archive_fills_no_hole_and_the_right_one_does_afterwards() {
    let (place, twin, lost) = twins(3, 3).await;
    // The last two that have ended: what comes behind the hole has some log.
    let number = u32::from_str_radix(&lost[16..], 16).unwrap() - 1;
    let lost = format!("{}{number:08X}", &lost[..16]);
    let (right, wrong) = (archive_all(&place), archive_all(&twin));
    std::fs::remove_file(place.data().join("pg_wal").join(&lost)).unwrap();
    std::fs::write(place.data().join("standby.signal"), "").unwrap();
    let restore = restore_from(wrong.path());
    let refused = place.try_start(&[("restore_command", restore.as_str())]).await.err();
    let refused = refused.unwrap().to_string();
    assert!(refused.contains(&lost), "{refused}");
    assert!(place.log().contains("is not restored"), "{}", place.log());
    assert!(!place.data().join("pg_wal").join(&lost).exists(), "nothing of the wrong archive is kept");
    let restore = restore_from(right.path());
    let standby = place.start(&[("restore_command", restore.as_str())]).await;
    eventually(&place, ROWS, "base own own own").await;
    stop(standby, StopMode::Immediate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restore_command_makes_is_a_file_of_its_own_or_is_refused_by_name() {
    let (place, _, ended) = twins(1, 0).await;
    let archive = archive_all(&place);
    std::fs::write(place.data().join("standby.signal"), "").unwrap();
    let folder = archive.path().display();
    let pg_wal = place.data().join("pg_wal");
    for (command, words) in [
        ("mkdir \"%p\"".to_owned(), "a folder for the archive's file \"00000002.history\""),
        (
            format!("test -e {folder}/%f && ln -s {folder}/%f \"%p\""),
            "a link or a special file for the archive's file",
        ),
    ] {
        match place.try_start(&[("restore_command", command.as_str())]).await {
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
            Ok(server) => {
                logged(&place, words).await;
                assert!(server.join().await.is_err());
            }
        }
        for entry in std::fs::read_dir(&pg_wal).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            assert!(!name.starts_with("RECOVERY") && !entry.file_type().unwrap().is_symlink(), "{name}");
        }
    }
    assert!(archive.path().join(ended).exists());
}

/// An archive with the segment that a server has under this file's name, and the command that asks it.
fn archive_of(place: &Place, file: &std::path::Path) -> (tempfile::TempDir, String) {
    let (archive, name) = (tempfile::tempdir().unwrap(), file.file_name().unwrap());
    std::fs::copy(place.data().join("pg_wal").join(name), archive.path().join(name)).unwrap();
    let restore = restore_from(archive.path());
    (archive, restore)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_s_segment_of_an_archive_replaces_none_that_is_damaged_here() {
    let (place, primary, copy, standby, file, had) = put_back(true, 40).await;
    for server in [standby, primary] {
        stop(server, StopMode::Immediate).await;
    }
    let (_archive, restore) = archive_of(&place, &file);
    let standby = copy.start(&[("restore_command", restore.as_str())]).await;
    logged(&copy, "from what this server has received, and is not restored").await;
    logged(&copy, "WAL is damaged: ").await;
    assert!(std::fs::read(&file).unwrap() == had);
    stop(standby, StopMode::Immediate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_takes_from_the_archive_what_it_cannot_read_here() {
    let (place, primary, copy, standby) = damaged_pair(DATA).await;
    let (file, _) = place_of(&copy, REPLAYED).await;
    for server in [standby, primary] {
        stop(server, StopMode::Immediate).await;
    }
    let (_archive, restore) = archive_of(&place, &file);
    std::fs::rename(copy.data().join("standby.signal"), copy.data().join("recovery.signal")).unwrap();
    let recovered = copy.start(&[("restore_command", restore.as_str())]).await;
    logged(&copy, "and was replaced by that of the archive").await;
    eventually(&copy, "select pg_is_in_recovery()", "f").await;
    assert_eq!(copy.psql("select count(*) from t").await, "20");
    stop(recovered, StopMode::Fast).await;
}

/// Waits until a file is there.
async fn comes(path: PathBuf) {
    let there = async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there).await.unwrap_or_else(|_| panic!("{path:?}"));
}

/// Writes a row and ends the segment, whose name this gives.
async fn segment_with(place: &Place, id: u32) -> String {
    place.psql(&format!("insert into t values ({id})")).await;
    let name = place.psql("select pg_walfile_name(pg_current_wal_lsn())").await;
    place.psql("select pg_switch_wal()").await;
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_archive_waits_on_while_a_standby_archives_nothing() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let always = [("archive_mode", "always"), ("archive_command", "false")];
    let (copy, standby) = standby_of(&place, "copy", &always).await;
    let mark = |segment: &str, state: &str| {
        copy.data().join("pg_wal/archive_status").join(format!("{segment}.{state}"))
    };
    let waiting = segment_with(&place, 1).await;
    comes(mark(&waiting, "ready")).await;
    // The next start redoes the segment once more, and not before the archiver looks.
    copy.psql("alter system set recovery_min_apply_delay = '1h'").await;
    stop(standby, StopMode::Immediate).await;
    let archive = tempfile::tempdir().unwrap();
    let command = format!("cp %p {}/%f", archive.path().display());
    let standby = copy.start(&[("archive_mode", "on"), ("archive_command", command.as_str())]).await;
    copy.psql("alter system set recovery_min_apply_delay = 0").await;
    copy.psql("select pg_reload_conf()").await;
    let primarys = segment_with(&place, 2).await;
    comes(mark(&primarys, "done")).await;
    assert!(mark(&waiting, "ready").exists() && !mark(&waiting, "done").exists());
    stop(primary, StopMode::Immediate).await;
    copy.psql("select pg_promote()").await;
    comes(archive.path().join(&waiting)).await;
    assert!(!archive.path().join(&primarys).exists());
    stop(standby, StopMode::Fast).await;
}
