//! Two promotions that took one timeline number, and one archive for both.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, eventually, logged, promote_alone, stop, stopped_pair};
use server::StopMode;
use std::path::Path;

/// Copies into an archive, refusing what is there already with other contents.
fn put(archive: &Path) -> String {
    format!("cmp -s \"%p\" {0}/%f || {{ test ! -e {0}/%f && cp \"%p\" {0}/%f; }}", archive.display())
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

/// An archive that has a history of timeline 2 that is nobody's here.
fn archive_of_a_twin() -> tempfile::TempDir {
    let archive = tempfile::tempdir().unwrap();
    std::fs::write(archive.path().join("00000002.history"), "1\t0/100\tsomebody else was promoted\n")
        .unwrap();
    archive
}

/// What an archive has of timeline 2.
fn names_of_two(archive: &Path) -> Vec<String> {
    let names = std::fs::read_dir(archive).unwrap().map(|file| file.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("00000002"));
    names.sort();
    names
}

/// Fetches from an archive.
fn get(archive: &Path) -> String {
    format!("cp {}/%f \"%p\"", archive.display())
}

/// A copy of a server; what came with it counts as archived.
async fn copy_of(place: &Place) -> Place {
    let copy = Place::empty();
    let data = copy.data();
    place.run_ok("pg_basebackup", &["-D", data.to_str().unwrap(), "-X", "stream", "-R", "-c", "fast"]).await;
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_archives_a_timeline_after_its_history_and_never_beside_a_twins() {
    let (place, copy) = stopped_pair().await;
    let (shared, own) = (archive_of_a_twin(), tempfile::tempdir().unwrap());
    let (shared, own) = (shared.path(), own.path());
    let primary = promote_alone(&place, &[]).await;
    set(&copy, "archive_command", &put(shared)).await;
    let standby = copy.start(&[("archive_mode", "always")]).await;
    place.psql("insert into t values (1)").await;
    let ended = switch(&place).await;
    eventually(&copy, "select last_failed_wal from pg_stat_archiver", "00000002.history").await;
    eventually(&copy, "select count(*) from t", "1").await;
    assert!(!shared.join(&ended).exists(), "whoever follows the twin would replay it");
    // An archive of its own has all that is needed to come back onto the timeline.
    copy.psql(&format!("alter system set archive_command = '{}'", put(own))).await;
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
    let primary = place.start(&[]).await;
    let late = copy_of(&place).await;
    stop(primary, StopMode::Fast).await;
    let archive = tempfile::tempdir().unwrap();
    let command = put(archive.path());
    let archives = [("archive_mode", "on"), ("archive_command", command.as_str())];
    // One is promoted twice, and its timeline 2 is not archived; a twin's is that hears nothing of it.
    let primary = promote_alone(&place, &[]).await;
    place.psql("insert into t values (1)").await;
    let ended = switch(&place).await;
    place.psql("insert into t values (2)").await;
    stop(primary, StopMode::Fast).await;
    let twin = promote_alone(&copy, &archives).await;
    copy.psql("insert into t values (100)").await;
    while switch(&copy).await < ended {
        copy.psql("insert into t values ((select max(id) + 1 from t))").await;
    }
    eventually(&copy, "select last_archived_wal from pg_stat_archiver", &ended).await;
    stop(twin, StopMode::Immediate).await;
    let primary = promote_alone(&place, &archives).await;
    let archived = switch(&place).await;
    // What it has of timeline 2 stays with it, and keeps nothing else waiting.
    eventually(&place, "select last_archived_wal from pg_stat_archiver", &archived).await;
    assert!(archive.path().join("00000003.history").exists());
    assert!(!names_of_two(archive.path()).iter().any(|name| name.ends_with(".partial")));
    let restore = get(archive.path());
    let retry = ("wal_retrieve_retry_interval", "50ms");
    let standby = late.start(&[("restore_command", restore.as_str()), retry]).await;
    eventually(&late, "select string_agg(id::text, ' ') from t", "1 2").await;
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_as_archived_is_looked_for_before_a_timelines_log_goes_beside_a_twins_history() {
    let (place, _) = stopped_pair().await;
    let primary = promote_alone(&place, &[]).await;
    for mode in ["always", "on"] {
        let (shared, own) = (archive_of_a_twin(), tempfile::tempdir().unwrap());
        let copy = copy_of(&place).await;
        // It goes on by itself, on the same timeline.
        let writes = if mode == "on" { &copy } else { &place };
        if mode == "on" {
            std::fs::remove_file(copy.data().join("standby.signal")).unwrap();
        }
        set(&copy, "archive_command", &put(shared.path())).await;
        let restore = get(shared.path());
        let server = copy.start(&[("archive_mode", mode), ("restore_command", restore.as_str())]).await;
        writes.psql("insert into t values ((select count(*) from t))").await;
        let ended = switch(writes).await;
        eventually(&copy, "select last_failed_wal from pg_stat_archiver", "00000002.history").await;
        assert_eq!(names_of_two(shared.path()), ["00000002.history"], "{mode}");
        let warning = "the archive has the history of another branch with the number of timeline 2";
        logged(&copy, warning).await;
        // Where it archives is another archive than where it reads.
        copy.psql(&format!("alter system set archive_command = '{}'", put(own.path()))).await;
        copy.psql("select pg_reload_conf()").await;
        eventually(&copy, "select last_archived_wal from pg_stat_archiver", &ended).await;
        assert!(own.path().join("00000002.history").exists(), "{mode}");
        assert_eq!(copy.log().matches(warning).count(), 1);
        stop(server, StopMode::Immediate).await;
    }
    stop(primary, StopMode::Immediate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_has_the_history_or_takes_none_is_given_the_log() {
    let (place, _) = stopped_pair().await;
    let primary = promote_alone(&place, &[]).await;
    let copy = copy_of(&place).await;
    let archive = tempfile::tempdir().unwrap();
    let history = std::fs::read(place.data().join("pg_wal/00000002.history")).unwrap();
    let there = archive.path().join("00000002.history");
    // It takes nothing twice.
    let once = format!("test ! -e {0}/%f && cp \"%p\" {0}/%f", archive.path().display());
    set(&copy, "archive_command", &once).await;
    let settings = |restore| [("archive_mode", "always"), ("restore_command", restore)];
    let from_archive = get(archive.path());
    for (restore, which) in
        [(&*from_archive, "there is none yet"), (&*from_archive, "ours"), ("false", "another")]
    {
        let standby = copy.start(&settings(restore)).await;
        place.psql("insert into t values ((select count(*) from t))").await;
        let ended = switch(&place).await;
        eventually(&copy, "select last_archived_wal from pg_stat_archiver", &ended).await;
        assert_eq!(copy.psql("select failed_count from pg_stat_archiver").await, "0", "{which}");
        assert_eq!(std::fs::read(&there).unwrap(), history, "{which}");
        stop(standby, StopMode::Fast).await;
    }
    stop(primary, StopMode::Immediate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_while_nothing_is_archived_leaves_a_history_that_goes_first_when_that_begins() {
    let (place, copy) = stopped_pair().await;
    stop(promote_alone(&place, &[]).await, StopMode::Fast).await;
    stop(promote_alone(&copy, &[]).await, StopMode::Fast).await;
    let (fresh, twins) = (tempfile::tempdir().unwrap(), archive_of_a_twin());
    for (place, archive) in [(&place, &fresh), (&copy, &twins)] {
        let command = put(archive.path());
        let archives = [("archive_mode", "on"), ("archive_command", command.as_str())];
        let alone = [("primary_conninfo", ""), ("cluster_name", "alone")];
        let primary = place.start(&[alone, archives].concat()).await;
        let ended = {
            place.psql("insert into t values (1)").await;
            switch(place).await
        };
        if archive.path() == fresh.path() {
            eventually(place, "select last_archived_wal from pg_stat_archiver", &ended).await;
            assert!(archive.path().join("00000002.history").exists());
        } else {
            eventually(place, "select last_failed_wal from pg_stat_archiver", "00000002.history").await;
            assert_eq!(names_of_two(archive.path()), ["00000002.history"]);
        }
        stop(primary, StopMode::Immediate).await;
    }
}
