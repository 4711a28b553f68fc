//! Two promotions that took one timeline number, and one archive for both.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, eventually, standby_of, stop};
use server::{Server, StopMode};
use std::path::Path;

/// Copies into an archive, refusing what is there already with other contents.
fn put(archive: &Path) -> String {
    format!("cmp -s \"%p\" {0}/%f || {{ test ! -e {0}/%f && cp \"%p\" {0}/%f; }}", archive.display())
}

/// Has a server that is stopped follow nobody, and promotes it.
async fn promote(place: &Place, settings: &[(&str, &str)]) -> Server {
    std::fs::write(place.data().join("standby.signal"), "").unwrap();
    let alone = [("primary_conninfo", ""), ("wal_keep_size", "64MB")];
    let server = place.start(&[&alone, settings].concat()).await;
    place.psql("select pg_promote()").await;
    server
}

/// Ends the segment that is written, and gives its name.
async fn switch(place: &Place) -> String {
    place.psql("select pg_walfile_name(pg_switch_wal())").await
}

async fn set(place: &Place, setting: &str, value: &str) {
    let file = place.data().join("postgresql.auto.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}{setting} = '{value}'\n")).unwrap();
}

/// A primary with a table, and a standby of it; both are stopped.
async fn stopped_pair() -> (Place, Place) {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[]).await;
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
    (place, copy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_archives_a_timeline_after_its_history_and_never_beside_a_twins() {
    let (place, copy) = stopped_pair().await;
    let folder = tempfile::tempdir().unwrap();
    let (shared, own) = (folder.path().join("shared"), folder.path().join("own"));
    std::fs::create_dir(&shared).unwrap();
    std::fs::create_dir(&own).unwrap();
    let twins = b"1\t0/100\tsomebody else was promoted\n";
    std::fs::write(shared.join("00000002.history"), twins).unwrap();
    let primary = promote(&place, &[]).await;
    set(&copy, "archive_command", &put(&shared)).await;
    let standby = copy.start(&[("archive_mode", "always")]).await;
    place.psql("insert into t values (1)").await;
    let ended = switch(&place).await;
    eventually(&copy, "select last_failed_wal from pg_stat_archiver", "00000002.history").await;
    eventually(&copy, "select count(*) from t", "1").await;
    assert!(!shared.join(&ended).exists(), "whoever follows the twin would replay it");
    // An archive of its own has all that is needed to come back onto the timeline.
    copy.psql(&format!("alter system set archive_command = '{}'", put(&own))).await;
    copy.psql("select pg_reload_conf()").await;
    eventually(&copy, "select last_archived_wal from pg_stat_archiver", &ended).await;
    let history = std::fs::read(own.join("00000002.history")).unwrap();
    assert_eq!(history, std::fs::read(place.data().join("pg_wal/00000002.history")).unwrap());
    assert!(own.join(&ended).exists());
    stop(standby, StopMode::Immediate).await;
    stop(primary, StopMode::Immediate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_an_ancestors_twin_in_the_archive_is_not_replayed() {
    let (place, copy) = stopped_pair().await;
    let late = Place::empty();
    let primary = place.start(&[]).await;
    let data = late.data();
    place.run_ok("pg_basebackup", &["-D", data.to_str().unwrap(), "-X", "stream", "-R", "-c", "fast"]).await;
    stop(primary, StopMode::Fast).await;
    let archive = tempfile::tempdir().unwrap();
    let command = put(archive.path());
    let archives = [("archive_mode", "on"), ("archive_command", command.as_str())];
    // One is promoted twice, and its timeline 2 is not archived; a twin's is that hears nothing of it.
    let primary = promote(&place, &[]).await;
    place.psql("insert into t values (1)").await;
    let ended = switch(&place).await;
    place.psql("insert into t values (2)").await;
    stop(primary, StopMode::Fast).await;
    let twin = promote(&copy, &archives).await;
    copy.psql("insert into t values (100)").await;
    while switch(&copy).await < ended {
        copy.psql("insert into t values ((select max(id) + 1 from t))").await;
    }
    eventually(&copy, "select last_archived_wal from pg_stat_archiver", &ended).await;
    stop(twin, StopMode::Immediate).await;
    let primary = promote(&place, &archives).await;
    eventually(&place, "select last_archived_wal like '%.partial' from pg_stat_archiver", "t").await;
    assert!(archive.path().join("00000003.history").exists());
    let restore = format!("cp {}/%f \"%p\"", archive.path().display());
    let retry = ("wal_retrieve_retry_interval", "50ms");
    let standby = late.start(&[("restore_command", restore.as_str()), retry]).await;
    eventually(&late, "select string_agg(id::text, ' ') from t", "1 2").await;
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}
