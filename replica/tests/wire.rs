//! The drivers over real sockets and files: with each other, and with PostgreSQL's own programs as peers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod support;

use protocol::backend::BackendMessage;
use protocol::client::CopyStart;
use replica::driver::peers;
use replica::driver::receive::ReceiveSettings;
use replica::sender::SenderState;
use replica::timeline::fence::{FenceRecord, FenceStore, NodeBranch, Verdict, judge};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Postgres, Primary, SEGMENT, SYSTEM, Standby, log_bytes, postgres_program, segment_size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wal::history::TimelineHistory;
use wal::{Lsn, Stopping, TimelineId};

const START: Lsn = Lsn::new(SEGMENT);

fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

#[track_caller]
fn assert_equal_logs(primary: &Primary, standby: &Standby, timeline: u32, upto: Lsn) {
    let of = |pg_wal: std::path::PathBuf| log_bytes(&pg_wal, timeline, segment_size(), START, upto);
    assert!(of(primary.pg_wal()) == of(standby.pg_wal()), "the logs differ before {upto}");
}

/// A primary with some log, and a connection on which it streams that; what comes and goes there is up to the
/// test. `options` follow the command.
async fn streaming_by_hand(options: &str) -> (Primary, protocol::Client) {
    let (primary, mut random) = (Primary::start().await, random());
    primary.write(10, &mut random);
    let conninfo = format!("{} replication=true", primary.conninfo());
    let mut standby = protocol::Client::connect_to(&conninfo).await.unwrap();
    let command = format!("START_REPLICATION {START} TIMELINE 1{options}");
    assert!(matches!(standby.copy_both(&command).await.unwrap(), CopyStart::Streaming(_)));
    (primary, standby)
}

/// Waits for something that comes by itself.
async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_s_log_equals_the_primary_s_from_files_and_from_memory() {
    let (primary, mut random) = (Primary::start().await, random());
    primary.write(2000, &mut random);
    let standby = Standby::of(&primary, None);
    for _ in 0..50 {
        let end = primary.write(20, &mut random);
        standby.wait_replayed(end).await;
    }
    let end = primary.writer().positions().flushed();
    assert!(end > START + 3 * SEGMENT, "the log crosses segments");
    assert_equal_logs(&primary, &standby, 1, end);
    eventually("the row shows all of it", || {
        let rows = primary.senders.rows(end, host::Host::real().clock.now());
        rows.len() == 1 && rows[0].state == SenderState::Streaming && rows[0].progress.replayed == end
    })
    .await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_and_restarts_leave_no_gap() {
    let (primary, mut random) = (Primary::start().await, random());
    primary.slots.create("s", replica::slots::Lifetime::Permanent, Some(&|| START), 1).unwrap();
    let mut standby = Standby::of(&primary, Some("s"));
    for round in 0..12 {
        let end = primary.write(30, &mut random);
        match round % 3 {
            0 => primary.cut_connections(),
            1 => {
                let dir = standby.stop().await;
                standby = Standby::start(dir, &primary.conninfo(), START, SYSTEM, segment_size(), Some("s"));
            }
            _ => {}
        }
        standby.wait_replayed(end).await;
    }
    let end = primary.writer().positions().flushed();
    assert_equal_logs(&primary, &standby, 1, end);
    eventually("the slot follows", || primary.slots.find("s").unwrap().restart == end).await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_upstream_is_followed_on_the_same_connection() {
    let (primary, mut random) = (Primary::start().await, random());
    let standby = Standby::of(&primary, None);
    for timeline in 2..=3 {
        let end = primary.write(100, &mut random);
        standby.wait_replayed(end).await;
        primary.promote();
        let end = primary.write(100, &mut random);
        standby.wait_replayed(end).await;
        assert_equal_logs(&primary, &standby, timeline, end);
        eventually("it has all that the new primary had", || standby.feed.has_caught_up_as("standby")).await;
    }
    assert_eq!(primary.connections.load(Ordering::SeqCst), 1, "{:?}", standby.said.0.lock().unwrap());
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_serves_a_standby_and_passes_a_new_timeline_on() {
    let (primary, mut random) = (Primary::start().await, random());
    let middle = Standby::of(&primary, None);
    std::fs::create_dir(middle.dir.path().join("pg_replslot")).unwrap();
    let (log, feed) = (middle.log.clone(), middle.feed.clone());
    // Serves the middle's log from a link to its folder.
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(middle.pg_wal(), dir.path().join("pg_wal")).unwrap();
    std::fs::create_dir(dir.path().join("pg_replslot")).unwrap();
    let relay = Primary::serve(dir, log, SYSTEM).await;
    let last = Standby::of(&relay, None);
    let end = primary.write(300, &mut random);
    last.wait_replayed(end).await;
    primary.promote();
    let end = primary.write(300, &mut random);
    last.wait_replayed(end).await;
    assert_equal_logs(&primary, &last, 2, end);
    assert!(feed.positions().flushed() >= end);
    eventually("the middle has caught up", || feed.has_caught_up_as("standby")).await;
    assert!(!last.feed.has_caught_up_as("standby"), "a standby's end says nothing of what the primary has");
    last.stop().await;
    middle.stop().await;
}

/// What is durable is on record, and nothing while nobody makes it so.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_fsync_with_a_reload() {
    let (primary, mut random) = (Primary::start().await, random());
    let standby = Standby::of(&primary, None);
    let recorded = || standby.log.record().received().map(|received| received.lsn);
    for fsync in [false, true, false, true] {
        let settings = ReceiveSettings { fsync, ..standby.settings.clone() };
        standby.receiver.as_ref().unwrap().set(settings);
        let mut in_force = false;
        for _ in 0..1000 {
            let end = primary.write(1, &mut random);
            standby.wait_replayed(end).await;
            let positions = standby.feed.positions();
            positions.wait_flushed_past(Lsn::new(end.get() - 1)).await.unwrap();
            in_force = (recorded() == Some(end)) == fsync;
            if in_force {
                break;
            }
        }
        assert!(in_force, "fsync = {fsync} is never in force");
    }
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_until_the_standby_has_the_last_record() {
    let (primary, mut random) = (Primary::start().await, random());
    let standby = Standby::of(&primary, None);
    let end = primary.write(10, &mut random);
    standby.wait_replayed(end).await;
    primary.log.set_stopping(Stopping::Soon);
    let end = primary.write(1, &mut random);
    primary.log.set_stopping(Stopping::LogEnds(end));
    let mut count = primary.senders.count();
    tokio::time::timeout(Duration::from_secs(20), count.wait_for(|count| *count == 0))
        .await
        .unwrap()
        .unwrap();
    assert!(standby.feed.positions().flushed() >= end);
    eventually("the standby hears why", || {
        let said = standby.said.0.lock().unwrap();
        said.iter().any(|line| line.contains("replication terminated by primary server"))
    })
    .await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_news_follow_the_end_of_a_timeline_before_the_standby_has_ended_its_side() {
    let format = wal::format::FORMATS.newest;
    let (primary, mut standby) = streaming_by_hand(&format!(" (plimsoll '{format}')")).await;
    primary.promote();
    while standby.next_message().await.unwrap() != BackendMessage::CopyDone {}
    // As after a reload, or when the roster has changed: each stream tells what commits wait for.
    primary.senders.reloaded();
    standby.queue(protocol::frontend::copy_done);
    standby.flush().await.unwrap();
    let mut next = None;
    loop {
        match standby.next_message().await.unwrap() {
            BackendMessage::DataRow(row) => next = row.text(0).map(str::to_owned),
            BackendMessage::CopyData(news) => panic!("{news:?} after CopyDone"),
            BackendMessage::ReadyForQuery(_) => break,
            _ => {}
        }
    }
    assert_eq!(next.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_right_behind_the_standby_s_copy_done_is_the_next_one() {
    let (_primary, mut standby) = streaming_by_hand("").await;
    // Together: the sender reads the command before it has ended its own side.
    standby.queue(protocol::frontend::copy_done);
    standby.queue(|out| protocol::frontend::query(out, "IDENTIFY_SYSTEM"));
    standby.flush().await.unwrap();
    let (mut commands_left, mut system) = (2, None);
    while commands_left > 0 {
        match standby.next_message().await.unwrap() {
            BackendMessage::DataRow(row) => system = row.text(0).map(str::to_owned),
            BackendMessage::Error(report) => panic!("{report:?}"),
            BackendMessage::ReadyForQuery(_) => commands_left -= 1,
            _ => {}
        }
    }
    assert_eq!(system, Some(SYSTEM.to_string()));
}

/// Passes everything on but what the standby says from its first CopyDone on. Gives its port, and tells when
/// that has come.
async fn deaf_to_the_end(primary: u16) -> (u16, tokio::sync::oneshot::Receiver<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ended, end) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (standby, _) = listener.accept().await.unwrap();
        let (mut from_standby, mut to_standby) = standby.into_split();
        let primary = tokio::net::TcpStream::connect(("127.0.0.1", primary)).await.unwrap();
        let (mut from_primary, mut to_primary) = primary.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_primary, &mut to_standby).await });
        let mut said = vec![0; 1 << 16];
        loop {
            let count = from_standby.read(&mut said).await.unwrap();
            if said.get(..count).is_none_or(|said| said.ends_with(b"c\0\0\0\x04")) {
                break;
            }
            to_primary.write_all(&said[..count]).await.unwrap();
        }
        let _ = ended.send(());
        // The connection stands.
        std::future::pending::<()>().await;
    });
    (port, end)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_primary_that_no_longer_answers_at_the_end_of_a_timeline() {
    let (primary, mut random) = (Primary::start().await, random());
    let conninfo = primary.conninfo();
    let port = conninfo.split("port=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let (deaf, end) = deaf_to_the_end(port.parse().unwrap()).await;
    let conninfo = conninfo.replace(&format!("port={port}"), &format!("port={deaf}"));
    let standby =
        Standby::start(tempfile::tempdir().unwrap(), &conninfo, START, SYSTEM, segment_size(), None);
    standby.wait_replayed(primary.write(10, &mut random)).await;
    primary.promote();
    end.await.unwrap();
    // Far less than the silence that it bears.
    tokio::time::timeout(Duration::from_secs(20), standby.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_of_another_cluster_gets_nothing_written() {
    let (primary, mut random) = (Primary::start().await, random());
    primary.write(10, &mut random);
    let dir = tempfile::tempdir().unwrap();
    let other = wal::SystemId::new(1);
    let standby = Standby::start(dir, &primary.conninfo(), START, other, segment_size(), None);
    eventually("it is refused", || {
        standby.said.0.lock().unwrap().iter().any(|line| line.contains("system identifier differs"))
    })
    .await;
    assert_eq!(standby.feed.positions().received(), START);
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_of_another_format_gets_nothing_written_and_is_followed_once_it_has_ours() {
    let (primary, mut random) = (Primary::start().await, random());
    primary.write(10, &mut random);
    let ours = wal::format::FORMATS.newest;
    // None, as before there were numbers; then that of a newer program.
    primary.format.store(0, Ordering::Relaxed);
    let dir = tempfile::tempdir().unwrap();
    let standby = Standby::start(dir, &primary.conninfo(), START, SYSTEM, segment_size(), None);
    for found in [1, ours + 1] {
        let words = format!("the server writes Plimsoll format {found}, this program reads format {ours}");
        eventually("it is refused", || {
            standby.said.0.lock().unwrap().iter().any(|line| line.contains(&words))
        })
        .await;
        assert_eq!(standby.feed.positions().received(), START);
        primary.format.store(if found == 1 { ours + 1 } else { ours }, Ordering::Relaxed);
    }
    let end = primary.writer().positions().flushed();
    eventually("it follows", || standby.feed.positions().received() == end).await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_primary_hears_it_from_its_peer() {
    let (old, new) = (Primary::start().await, Primary::start().await);
    new.write(5, &mut random());
    new.promote();
    let theirs = peers::probe(&new.conninfo()).await.unwrap();
    let ours = NodeBranch { system: SYSTEM, history: TimelineHistory::root(TimelineId::FIRST) };
    let verdict = judge(&ours, true, new.log.state().flushed(), &theirs.branch);
    let Verdict::Fence { fork } = verdict else { panic!("{verdict:?}") };
    let at = host::Timestamp::from_micros(1);
    let record = FenceRecord::new(&ours, &theirs.branch, fork, fork, "peer", at);
    assert_eq!(record.descendant, TimelineId::new(2));
    let store = FenceStore::new(&host::Host::real(), old.dir.path());
    store.raise(&ours, &record).unwrap();
    assert_eq!(store.load().unwrap(), Some(record));
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_receivewal_gets_the_same_segments_over_a_timeline_switch() {
    let (primary, mut random) = (Primary::start().await, random());
    primary.write(300, &mut random);
    primary.set_names("pg_receivewal");
    let (target, path) = support::postgres_folder();
    let port = primary.port.to_string();
    let to = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "--slot=r", "-w"];
    let created = postgres_program("pg_receivewal", &[&to[..], &["--create-slot"]].concat());
    assert!(run(created).await.success());
    let args = [&to[..], &["-D", &path, "--synchronous", "-n"]].concat();
    let mut receiving = postgres_program("pg_receivewal", &args).spawn().unwrap();
    let end = primary.write(300, &mut random);
    eventually("it confirms as a synchronous standby", || primary.senders.synced().flushed >= end).await;
    primary.promote();
    let end = primary.write(600, &mut random);
    eventually("it follows to the new timeline", || primary.senders.synced().flushed >= end).await;
    let all = primary.writer().flush_all().unwrap();
    for segment in std::fs::read_dir(primary.pg_wal()).unwrap() {
        let name = segment.unwrap().file_name().into_string().unwrap();
        let Some((timeline, number)) = wal::SegmentNumber::parse_file_name(&name, segment_size()) else {
            continue;
        };
        // The segments that are complete on a timeline that it streamed.
        let ends = segment_size().start_of(number.next());
        let newest = timeline == primary.writer().timeline();
        if newest && ends <= all {
            let ours = std::fs::read(primary.pg_wal().join(&name)).unwrap();
            assert!(std::fs::read(target.path().join(&name)).unwrap() == ours, "{name} differs");
        }
    }
    assert!(target.path().join("00000002.history").exists());
    support::interrupt(&receiving);
    receiving.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_on_the_next_branch_is_not_told_to_who_is_on_the_one_before() {
    let (primary, mut random) = (Arc::new(Primary::start().await), random());
    let fork = primary.write(100, &mut random);
    let standby = Standby::of(&primary, None);
    standby.wait_replayed(fork).await;
    let later = fork + 1000;
    // The node is promoted after a stream has looked at the log, and before it hears what is confirmed.
    let (promoted, once) = (primary.clone(), std::sync::Once::new());
    *primary.confirmed.0.lock().unwrap() = Box::new(move || {
        once.call_once(|| promoted.promote());
        later
    });
    let said = || standby.said.0.lock().unwrap().clone();
    let at = |word: &str| said().iter().position(|line| line == word);
    let word = format!("confirmed up to {later}");
    eventually("it hears what is confirmed", || at(&word).is_some()).await;
    let follows = at("follows timeline 2");
    assert!(follows.is_some() && follows < at(&word), "{:?}", said());
    *primary.confirmed.0.lock().unwrap() = Box::new(|| Lsn::INVALID);
    standby.stop().await;
}

async fn run(mut command: std::process::Command) -> std::process::ExitStatus {
    tokio::task::spawn_blocking(move || command.status().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_postgresql_is_followed_byte_for_byte_and_through_its_promotion() {
    let (real, upstream) = tokio::task::spawn_blocking(|| {
        let real = Postgres::start();
        let upstream = real.standby();
        (real, upstream)
    })
    .await
    .unwrap();
    real.sql("CREATE TABLE t AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 20000) i").await;
    let mut client =
        protocol::Client::connect_to(&format!("{} replication=true", upstream.conninfo())).await.unwrap();
    let identity = client.query("IDENTIFY_SYSTEM").await.unwrap();
    let system: wal::SystemId = identity.text(0, 0).unwrap().parse().unwrap();
    // A segment that the standby has whole.
    let at: Lsn = identity.text(0, 2).unwrap().parse().unwrap();
    let start = segment_size().start_of(segment_size().segment_of(at));
    let standby = Standby::start(
        tempfile::tempdir().unwrap(),
        &upstream.conninfo(),
        start,
        system,
        segment_size(),
        None,
    );
    real.sql("UPDATE t SET i = i + 1").await;
    let end: Lsn = real.sql("SELECT pg_current_wal_flush_lsn()").await.parse().unwrap();
    standby.wait_replayed(end).await;
    let of = |pg_wal: std::path::PathBuf, timeline, upto| {
        log_bytes(&pg_wal, timeline, segment_size(), start, upto)
    };
    assert!(of(real.pg_wal(), 1, end) == of(standby.pg_wal(), 1, end));
    let upstream = tokio::task::spawn_blocking(move || {
        upstream.promote();
        upstream
    })
    .await
    .unwrap();
    upstream.sql("CREATE TABLE u AS SELECT i FROM generate_series(1, 20000) i").await;
    let end: Lsn = upstream.sql("SELECT pg_current_wal_flush_lsn()").await.parse().unwrap();
    standby.wait_replayed(end).await;
    assert!(of(upstream.pg_wal(), 2, end) == of(standby.pg_wal(), 2, end));
    let said = standby.said.0.lock().unwrap().clone();
    assert!(said.contains(&"follows timeline 2".to_owned()), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("restarted")), "on the same connection: {said:?}");
    standby.stop().await;
    drop((real, upstream));
}
