//! Clients that mean harm, each as a role without rights: what they take is bounded, and others are served.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use bytes::Buf;
use common::{Place, stop};
use protocol::backend::Format;
use protocol::frame::{Frame, FrameLimits};
use protocol::frontend::{self, StatementOrPortal};
use protocol::{Client, ClientError};
use server::StopMode;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longer than anything takes on a loaded machine, and far less than authentication_timeout.
const SOON: Duration = Duration::from_secs(30);

fn socket(place: &Place) -> PathBuf {
    place.data().with_file_name(".s.PGSQL.5432")
}

async fn refusal(place: &Place, user: &str) -> String {
    let conninfo = place.conninfo().replace("user=postgres", &format!("user={user}"));
    match Client::connect_to(&conninfo).await {
        Err(ClientError::Server(report)) => format!("{} {}", report.code, report.message),
        other => panic!("a refusal was expected: {:?}", other.err()),
    }
}

async fn as_user(place: &Place, user: &str) -> Client {
    let conninfo = place.conninfo().replace("user=postgres", &format!("user={user}"));
    Client::connect_to(&conninfo).await.unwrap()
}

/// Taken by each test here: what a server takes is counted for its process, which is also the others'.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn silent_sockets_keep_nobody_from_logging_in() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let settings = [("max_connections", "8"), ("max_wal_senders", "2"), ("authentication_timeout", "600")];
    let server = place.start(&settings).await;
    place.psql("create role app login password 'secret'; grant create on schema public to app").await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(UnixStream::connect(socket(&place)).await.unwrap());
    }
    for user in ["app", "postgres"] {
        let mut client = tokio::time::timeout(SOON, as_user(&place, user)).await.unwrap();
        assert_eq!(client.query("select 1").await.unwrap().row_count(), 1);
    }
    // The oldest has heard why it had to go.
    let mut told = Vec::new();
    silent[0].read_to_end(&mut told).await.unwrap();
    assert!(String::from_utf8_lossy(&told).contains("sorry, too many clients already"), "{told:?}");
    assert!(place.log().contains("connections that had not logged in"), "{}", place.log());
    // The newest still have their places, which a stop does not wait for.
    tokio::time::timeout(SOON, stop(server, StopMode::Fast)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_not_shown_a_password_takes_no_place_of_a_session() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let settings = [
        ("max_connections", "5"),
        ("superuser_reserved_connections", "2"),
        ("max_wal_senders", "1"),
        ("authentication_timeout", "600"),
    ];
    let server = place.start(&settings).await;
    place.psql("create role app login password 'secret'; grant create on schema public to app").await;
    place.psql("create role limited login connection limit 1").await;
    let hba = place.data().join("pg_hba.conf");
    let before = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("local all app scram-sha-256\n{before}")).unwrap();
    server.reload();
    // Half-way through the exchange: the name is told, the password is not.
    let mut undecided = Vec::new();
    for _ in 0..10 {
        let mut stream = UnixStream::connect(socket(&place)).await.unwrap();
        let mut packet = bytes::BytesMut::new();
        protocol::startup::encode_session(&mut packet, [("user", "app"), ("database", "postgres")]);
        stream.write_all(&packet).await.unwrap();
        let mut kind = [0];
        stream.read_exact(&mut kind).await.unwrap();
        assert_eq!(kind, *b"R");
        undecided.push(stream);
    }
    // Clients may have three places, superusers the last two as well, walsenders one of their own.
    let conninfo = format!("{} password=secret", place.conninfo().replace("user=postgres", "user=app"));
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(Client::connect_to(&conninfo).await.unwrap());
    }
    let reserved = "53300 remaining connection slots are reserved for non-replication superuser connections";
    assert_eq!(refusal(&place, "limited").await, reserved);
    sessions.push(place.connect().await);
    let walsender = place.connect_with("replication=true").await.unwrap();
    let full = "53300 number of requested standby connections exceeds max_wal_senders (currently 1)";
    match place.connect_with("replication=true").await {
        Err(ClientError::Server(report)) => assert_eq!(format!("{} {}", report.code, report.message), full),
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(refusal(&place, "limited").await, reserved);
    sessions.push(place.connect().await);
    assert_eq!(refusal(&place, "postgres").await, "53300 sorry, too many clients already");
    drop((sessions, walsender));
    let deadline = tokio::time::Instant::now() + SOON;
    let limited = loop {
        let conninfo = place.conninfo().replace("user=postgres", "user=limited");
        match Client::connect_to(&conninfo).await {
            Ok(client) => break client,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(refusal(&place, "limited").await, "53300 too many connections for role \"limited\"");
    drop(limited);
    tokio::time::timeout(SOON, stop(server, StopMode::Fast)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_connections_stays_with_its_role_when_that_is_renamed() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("create role first login connection limit 1").await;
    let held = as_user(&place, "first").await;
    place.psql("alter role first rename to second; create role first login connection limit 1").await;
    assert_eq!(refusal(&place, "second").await, "53300 too many connections for role \"second\"");
    let names = "select usename from pg_stat_activity where usename in ('first', 'second')";
    assert_eq!(place.psql(names).await, "second");
    let other = as_user(&place, "first").await;
    assert_eq!(refusal(&place, "first").await, "53300 too many connections for role \"first\"");
    drop((held, other));
    tokio::time::timeout(SOON, stop(server, StopMode::Fast)).await.unwrap();
}

/// What a walsender says to the head of a Query message that announces so many bytes, until it hangs up.
async fn told_of_half_a_command(place: &Place, bytes: u32) -> String {
    let mut stream = UnixStream::connect(socket(place)).await.unwrap();
    let mut packet = bytes::BytesMut::new();
    let session = [("user", "postgres"), ("replication", "true")];
    protocol::startup::encode_session(&mut packet, session);
    packet.extend_from_slice(b"Q");
    packet.extend_from_slice(&bytes.to_be_bytes());
    packet.extend_from_slice(b"SHOW ");
    stream.write_all(&packet).await.unwrap();
    let mut said = Vec::new();
    // A connection that is cut is as good as its end.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut said)).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_connections_keep_to_the_memory_limit_too() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    // Whatever the server takes is more than that.
    let server = place.start(&[("plimsoll.memory_limit", "1MB")]).await;
    common::logged(&place, "plimsoll.memory_limit allows").await;
    let told = told_of_half_a_command(&place, 1 << 20).await;
    assert!(told.contains("53200") && told.contains("more bytes has no room"), "{told}");
    // More than any command has is not waited for, whatever memory there is.
    let told = told_of_half_a_command(&place, 200 << 20).await;
    assert!(told.contains("08P01"), "{told}");
    tokio::time::timeout(SOON, stop(server, StopMode::Fast)).await.unwrap();
}

/// Sends messages until the server takes no more of them, or all are sent; how many were.
async fn flood(stream: &mut UnixStream, message: &[u8], most: usize) -> usize {
    for sent in 0..most {
        if tokio::time::timeout(Duration::from_millis(500), stream.write_all(message)).await.is_err() {
            return sent;
        }
    }
    most
}

/// A session over a bare socket, whose answers nobody reads after this.
async fn bare_session(place: &Place, user: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket(place)).await.unwrap();
    let mut packet = bytes::BytesMut::new();
    protocol::startup::encode_session(&mut packet, [("user", user), ("database", "postgres")]);
    stream.write_all(&packet).await.unwrap();
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    while !seen.ends_with(b"Z\0\0\0\x05I") {
        let read = stream.read(&mut chunk).await.unwrap();
        seen.extend_from_slice(&chunk[..read]);
    }
    stream
}

fn message(fill: impl FnOnce(&mut bytes::BytesMut)) -> bytes::BytesMut {
    let mut out = bytes::BytesMut::new();
    fill(&mut out);
    out
}

/// Anonymous memory of this process, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_wait_at_a_bounded_buffer_and_the_session_still_ends() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("create role app login password 'secret'; grant create on schema public to app").await;
    let columns: Vec<String> =
        (0..1000).map(|at| format!("{at} as a_column_with_a_long_name_{at}")).collect();
    let wide = format!("select {}", columns.join(", "));
    let prepare = message(|out| frontend::parse(out, "wide", &wide, &[]));
    // 50 kB come back for each of these.
    let describe = message(|out| frontend::describe(out, StatementOrPortal::Statement("wide")));
    let parse_and_run = message(|out| {
        frontend::bind(out, "", "wide", &[], Format::Text, Format::Text);
        frontend::describe(out, StatementOrPortal::Portal(""));
        frontend::execute(out, "", 0);
    });
    let no_such = message(|out| {
        frontend::describe(out, StatementOrPortal::Statement("nothing"));
        frontend::sync(out);
    });
    let many = message(|out| frontend::query(out, &"rollback;".repeat(9_000)));
    let before = memory();
    let mut streams = Vec::new();
    for (first, then) in
        [(&prepare, &describe), (&prepare, &parse_and_run), (&no_such, &no_such), (&many, &many)]
    {
        let mut stream = bare_session(&place, "app").await;
        stream.write_all(first).await.unwrap();
        flood(&mut stream, then, 20_000).await;
        streams.push(stream);
    }
    let grown = memory().saturating_sub(before) >> 20;
    assert!(grown < 150, "{grown} MB more for four clients that do not read");
    // Others are served, and who does not read is ended all the same.
    let ended = place
        .psql(
            "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity \
             where usename = 'app') as ended",
        )
        .await;
    assert_eq!(ended, "4");
    let mut watcher = place.connect().await;
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let left = watcher.query("select 1 from pg_stat_activity where usename = 'app'").await.unwrap();
        if left.row_count() == 0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "sessions that were terminated are still there");
    }
    tokio::time::timeout(SOON, stop(server, StopMode::Fast)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_at_last_gets_every_answer_in_order() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let (mut reader, mut writer) = bare_session(&place, "postgres").await.into_split();
    const TIMES: usize = 50_000;
    let sent = message(|out| {
        frontend::parse(out, "one", "select 1 as one", &[]);
        for _ in 0..TIMES {
            frontend::describe(out, StatementOrPortal::Statement("one"));
        }
        frontend::sync(out);
    });
    let writing = tokio::spawn(async move { writer.write_all(&sent).await.map(|()| writer) });
    let (mut kinds, mut input) = (Vec::new(), bytes::BytesMut::new());
    while kinds.last() != Some(&b'Z') {
        assert_ne!(reader.read_buf(&mut input).await.unwrap(), 0);
        while let Some(frame) = Frame::peek(&input, FrameLimits::CLIENT).unwrap() {
            kinds.push(frame.kind);
            input.advance(frame.len);
        }
    }
    let mut expected = vec![b'1'];
    expected.extend(b"tT".repeat(TIMES));
    expected.push(b'Z');
    assert!(kinds == expected, "{} messages came", kinds.len());
    drop(writing.await.unwrap().unwrap());
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_run_one_another_without_end_are_refused() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("create role app login").await;
    let text = Format::Text;
    let itself = message(|out| {
        frontend::parse(out, "p", "execute p", &[]);
        frontend::bind(out, "", "p", &[], text, text);
        frontend::execute(out, "", 0);
        frontend::sync(out);
    });
    let fetches = message(|out| {
        frontend::parse(out, "s0", "select g from generate_series(1, 10) g", &[]);
        frontend::bind(out, "p0", "s0", &[], text, text);
        for at in 1..3000 {
            frontend::parse(out, &format!("s{at}"), &format!("fetch 1 from p{}", at - 1), &[]);
            frontend::bind(out, &format!("p{at}"), &format!("s{at}"), &[], text, text);
        }
        frontend::execute(out, "p2999", 0);
        frontend::sync(out);
    });
    for sent in [itself, fetches] {
        let mut stream = bare_session(&place, "app").await;
        stream.write_all(&sent).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"Z\0\0\0\x05I") {
            assert_ne!(stream.read_buf(&mut said).await.unwrap(), 0, "the session has ended");
        }
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("C54001") && said.contains("stack depth limit exceeded"), "{said}");
    }
    assert_eq!(place.psql("select 1").await, "1");
    tokio::time::timeout(SOON, stop(server, StopMode::Fast)).await.unwrap();
}

/// The SQLSTATE and the message that a statement fails with.
async fn failure(client: &mut Client, sql: &str) -> String {
    match client.query(sql).await {
        Err(ClientError::Server(report)) => format!("{} {}", report.code, report.message),
        other => panic!("an error was expected of {sql}: {other:?}"),
    }
}

/// Minutes of looking at characters, while planning and without a pause.
const ENDLESS: &str = "select repeat('a', 300000) like '%' || repeat('a', 100000) || 'b'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_expressions_hold_up_nobody_and_hear_whoever_stops_them() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("create role app login password 'secret'; grant create on schema public to app").await;
    let mut busy = Vec::new();
    for name in ["cancelled", "timed_out", "terminated"] {
        let mut client = as_user(&place, "app").await;
        client.query(&format!("set application_name = {name}")).await.unwrap();
        if name == "timed_out" {
            client.query("set statement_timeout = '2s'").await.unwrap();
        }
        let cancel = client.cancel_token();
        busy.push((cancel, tokio::spawn(async move { failure(&mut client, ENDLESS).await })));
    }
    let mut other = tokio::time::timeout(SOON, place.connect()).await.unwrap();
    let deadline = tokio::time::Instant::now() + SOON;
    let count = "select count(*) from pg_stat_activity where usename = 'app' and state = 'active' \
                 and query like 'select repeat%'";
    while other.query(count).await.unwrap().text(0, 0) != Some("3") {
        assert!(tokio::time::Instant::now() < deadline, "the three do not run");
    }
    // Both threads would be taken; they answer all the same.
    for _ in 0..20 {
        let answer = tokio::time::timeout(Duration::from_secs(2), other.query("select 1")).await;
        assert_eq!(answer.unwrap().unwrap().text(0, 0), Some("1"));
    }
    busy[0].0.cancel().await.unwrap();
    other
        .query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'terminated'")
        .await
        .unwrap();
    let expected = [
        "57014 canceling statement due to user request",
        "57014 canceling statement due to statement timeout",
        "57P01 terminating connection due to administrator command",
    ];
    for ((_, ended), expected) in busy.into_iter().zip(expected) {
        assert_eq!(tokio::time::timeout(SOON, ended).await.unwrap().unwrap(), expected);
    }
    // Each of these takes minutes, or more than that.
    let mut client = as_user(&place, "app").await;
    client.query("set statement_timeout = '300ms'").await.unwrap();
    for sql in [
        "select count(*) from generate_series(1, 3000) a, generate_series(1, 100000) b, generate_series(1, 100000) c",
        // One ends within the time on a quick machine.
        &format!("select {}", ["repeat('7', 65000)::numeric * repeat('7', 65000)::numeric"; 400].join(" + ")),
        "select length(md5(repeat('x', 900000000)))",
        "select regexp_replace(repeat('a', 30000000), 'a', 'b', 'g')",
        "select count(*) from generate_series(1, 100000000) g where md5(repeat('x', 20000)) = g::text",
        "select count(*) from (select 1 from generate_series(1, 1000000) g order by md5(g::text) limit 100000) s",
        "select length(encode(convert_to(repeat('\u{e9}', 100000000), 'utf8'), 'escape'))",
        // Parts that are short add up.
        &format!("select {}", vec!["sqrt(repeat('7', 131000)::numeric)"; 500].join(" + ")),
    ] {
        let failed = tokio::time::timeout(SOON, failure(&mut client, sql)).await;
        assert_eq!(failed.unwrap(), expected[1], "{sql}");
    }
    drop(client);
    tokio::time::timeout(SOON, stop(server, StopMode::Fast)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_have_a_largest_size_and_all_sessions_together_a_memory_limit() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[("plimsoll.memory_limit", "400MB")]).await;
    place.psql("create role app login password 'secret'; grant create on schema public to app").await;
    let mut client = as_user(&place, "app").await;
    for (sql, expected) in [
        ("select repeat('x', 1100000000)", "54000 requested length too large"),
        (
            "select replace(repeat('x', 1000000), 'x', repeat('y', 1000000))",
            "54000 requested length too large",
        ),
        ("select regexp_replace(repeat('x', 100000), 'x', repeat('y', 100000), 'g')", "53200 out of memory"),
        ("select format('%1100000000s', 'x')", "54000 requested length too large"),
        ("select lpad('x', 1000000000)", "54000 requested length too large"),
        (
            "select array_to_string(string_to_array(repeat('x,', 10000), ','), repeat('y', 100000))",
            "53200 out of memory",
        ),
        (
            "select string_to_array(repeat('x', 100000000), null)",
            "54000 array size exceeds the maximum allowed",
        ),
        ("select length(repeat('x', 600000000))", "53200 out of memory"),
        ("select length(repeat('x', 150000000) || repeat('y', 150000000))", "53200 out of memory"),
    ] {
        let failed = failure(&mut client, sql).await;
        assert!(failed.starts_with(expected), "{sql}: {failed}");
    }
    // What the last one took is free when the server looks the next time, ten times a second.
    let begun = std::time::Instant::now();
    let answer = loop {
        match client.query("select length(repeat('x', 100000000))").await {
            Ok(answer) => break answer,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{error}"),
        }
    };
    assert_eq!(answer.text(0, 0), Some("100000000"));
    stop(server, StopMode::Fast).await;
}

/// The most memory since the last call, without what is mapped from files.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse().unwrap()
    };
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    (kilobytes("VmHWM:") - kilobytes("RssFile:")) << 10
}

/// One row whose copies on its way to the log are more than there may be.
async fn insert_a_large_row(client: &mut Client) {
    let row = "insert into t select repeat('x', 150000000)";
    match client.query(row).await {
        Err(ClientError::Server(report)) => assert_eq!(report.code, protocol::SqlState::OUT_OF_MEMORY),
        other => assert!(other.is_ok(), "{other:?}"),
    }
    let most = peak();
    assert!(most < 700 << 20, "{} MB: {row}", most >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_of_many_small_pieces_is_bounded_too() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[("plimsoll.memory_limit", "400MB")]).await;
    place.psql("create role app login password 'secret'; grant create on schema public to app").await;
    let mut client = as_user(&place, "app").await;
    let arrays = vec!["unnest(a)"; 60].join(", ");
    let constants = vec!["(repeat('x', 1000000))"; 1000].join(", ");
    peak();
    for (sql, expected) in [
        // A batch of rows ends where its values are many bytes.
        (
            "select count(length(a)) from (select repeat('x', 1000000 - g % 2) a from generate_series(1, 1000) g offset 0) s",
            "1000",
        ),
        (
            &*format!(
                "select count(*) from (select {arrays} from (select string_to_array(repeat(',', 100000), ',') a) s limit 9) t"
            ),
            "9",
        ),
        // These are kept: as constants of the plan.
        (&*format!("values {constants}"), "53200 out of memory"),
    ] {
        match client.query(sql).await {
            Ok(answer) => assert_eq!(answer.text(0, 0), Some(expected)),
            Err(ClientError::Server(report)) => {
                assert_eq!(format!("{} {}", report.code, report.message), expected)
            }
            Err(error) => panic!("{error}"),
        }
        let peak = peak();
        assert!(peak < 500 << 20, "{} MB: {}", peak >> 20, &sql[..60]);
    }
    // Lines of COPY that do not end.
    client.query("create table t (a text)").await.unwrap();
    let mut copies = Vec::new();
    for _ in 0..6 {
        copies.push(as_user(&place, "app").await);
    }
    let mut loads = Vec::new();
    for copy in &mut copies {
        loads.push(copy.copy_in("copy t from stdin").await.unwrap());
    }
    let piece = vec![b'x'; 1 << 20];
    let mut refused = 0;
    for _ in 0..150 {
        for load in &mut loads {
            // Who was refused hears of it at the end.
            let _ = load.send(&piece).await;
        }
    }
    for load in loads {
        match load.finish().await {
            Err(ClientError::Server(report)) if report.code == protocol::SqlState::OUT_OF_MEMORY => {
                refused += 1
            }
            other => assert!(other.is_ok(), "{other:?}"),
        }
    }
    assert!(refused > 0);
    let most = peak();
    assert!(most < 700 << 20, "{} MB, {refused} refused", most >> 20);
    insert_a_large_row(&mut client).await;
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_in_drops_does_not_end_the_silence() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[("idle_in_transaction_session_timeout", "300ms")]).await;
    let mut stream = bare_session(&place, "postgres").await;
    stream.write_all(&message(|out| frontend::query(out, "begin"))).await.unwrap();
    stream.write_all(b"Q\0\0\x10\0").await.unwrap();
    let mut said = Vec::new();
    let ended = async {
        let mut drops = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                read = stream.read_buf(&mut said) => if matches!(read, Ok(0) | Err(_)) { return },
                _ = drops.tick() => {}
            }
            let _ = stream.write_all(b"x").await;
        }
    };
    tokio::time::timeout(SOON, ended).await.unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("idle-in-transaction timeout"), "{said}");
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_keeps_more_and_more_is_refused_before_memory_ends() {
    let _alone = ALONE.lock().await;
    let place = Place::new().await;
    let server = place.start(&[("plimsoll.memory_limit", "400MB")]).await;
    place.psql("create role app login password 'secret'; grant create on schema public to app").await;
    let mut hog = as_user(&place, "app").await;
    let literal = "x".repeat(300_000);
    let mut refused = None;
    for at in 0..5000 {
        if let Err(ClientError::Server(report)) =
            hog.query(&format!("prepare p{at} as select '{literal}'")).await
        {
            refused = Some(format!("{} {}", report.code, report.message));
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some("53200 out of memory"));
    assert!(memory() < 600 << 20, "{} MB", memory() >> 20);
    assert!(place.log().contains("plimsoll.memory_limit"), "{}", place.log());
    // A superuser works on, and what lets go of memory does.
    assert_eq!(place.psql("select 1").await, "1");
    hog.query("deallocate all").await.unwrap();
    let deadline = tokio::time::Instant::now() + SOON;
    while let Err(error) = hog.query("select 1").await {
        assert!(tokio::time::Instant::now() < deadline, "{error}; {} MB", memory() >> 20);
    }
    stop(server, StopMode::Fast).await;
}
