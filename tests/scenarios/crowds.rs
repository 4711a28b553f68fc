//! Many connections at once: what each takes, and that the others are served meanwhile.
//!
//! The long form (PLIMSOLL_LONG_TESTS=1) has the numbers that are promised; it needs some 20,000 open files
//! in the server and as many here (`ulimit -Hn`). Its bound on time holds for a release build on a machine
//! that does nothing else: PLIMSOLL_LOGIN_MS sets another one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scenarios::pki::Pki;
use scenarios::raw::{Handshake, Raw, SSL_REQUEST};
use scenarios::{Node, variable, wait_until};
use std::fs;
use std::time::{Duration, Instant};

fn is_long() -> bool {
    variable("PLIMSOLL_LONG_TESTS") == Some(1)
}

/// So many in the long form, and few in the short one.
fn crowd(long: usize) -> usize {
    if is_long() { long } else { 300 }
}

/// As many open files as the system lets a process have.
fn lift_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
}

fn server(pki: &Pki) -> Node {
    let node = Node::builder()
        .setting("ssl", "on")
        .setting("max_connections", "11000")
        .setting("authentication_timeout", "600")
        .init();
    pki.install("server", &node.data());
    let rules = "local all all trust\nhostssl all app all scram-sha-256\nhost all all all trust\n";
    fs::write(node.data().join("pg_hba.conf"), rules).expect("written");
    node.start();
    node.sql("CREATE ROLE app LOGIN PASSWORD 'right'");
    node
}

/// Logs in many times; the time that one in a hundred takes longer than.
fn login_p99(node: &Node) -> Duration {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            let mut raw = Raw::tcp(node.port());
            raw.startup(&[("user", "postgres"), ("database", "postgres")]);
            assert_eq!(raw.outcome(), "ready");
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// What each of a crowd takes of the server's memory, in bytes.
fn cost_of_each(node: &Node, count: usize, mut come: impl FnMut() -> Raw) -> (u64, Vec<Raw>) {
    // What a server keeps from then on, for whoever comes.
    let warm: Vec<Raw> = (0..32).map(|_| come()).collect();
    let before = node.rss_anon_bytes();
    let all: Vec<Raw> = (0..count).map(|_| come()).collect();
    let after = node.rss_anon_bytes();
    drop(warm);
    (after.saturating_sub(before) / count as u64, all)
}

fn check_login(node: &Node, whom: &str, each: u64, most: u64) {
    let p99 = login_p99(node);
    println!("{whom}: {each} bytes each; a good login takes {p99:?} (p99)");
    assert!(each <= most, "{whom}: {each} bytes each, {most} are allowed");
    if is_long() {
        let limit = Duration::from_millis(variable("PLIMSOLL_LOGIN_MS").unwrap_or(50));
        assert!(p99 < limit, "{whom}: a good login takes {p99:?} (p99)");
    }
}

/// A kind of connection, and what each may take at most, in bytes.
type Kind = (&'static str, fn(&Node) -> Raw, u64);

/// Each kind has a server of its own: memory that one crowd has left would be taken for what the next one
/// costs.
#[test]
fn whoever_says_nothing_costs_little_and_delays_no_login() {
    lift_limit();
    let (pki, count) = (Pki::make(), crowd(5000));
    let kinds: [Kind; 3] = [
        ("connected, and silent", |node| Raw::tcp(node.port()), 16 << 10),
        (
            "silent before the handshake",
            |node| {
                let mut raw = Raw::tcp(node.port());
                raw.write(&SSL_REQUEST);
                assert_eq!(raw.byte(), Some(b'S'));
                raw
            },
            16 << 10,
        ),
        ("silent behind the handshake", tls, 32 << 10),
    ];
    for (whom, come, most) in kinds {
        let node = server(&pki);
        let (each, _crowd) = cost_of_each(&node, count, || come(&node));
        check_login(&node, whom, each, most);
    }
}

fn tls(node: &Node) -> Raw {
    Raw::tls(node.port(), Handshake::default()).expect("a handshake")
}

#[test]
fn sessions_that_idle_fit_in_a_gigabyte_and_under_tls_in_two() {
    lift_limit();
    let (pki, count) = (Pki::make(), crowd(10_000));
    let log_in = |mut raw: Raw| {
        raw.startup(&[("user", "postgres"), ("database", "postgres")]);
        assert_eq!(raw.outcome(), "ready");
        assert_eq!(raw.query("SELECT count(*) FROM pg_class"), "ready");
        raw
    };
    let most = (1_u64 << 30) / 10_000;
    let kinds: [Kind; 2] = [
        ("an idle session", |node| Raw::tcp(node.port()), most),
        ("an idle session under TLS", tls, 2 * most),
    ];
    for (whom, come, most) in kinds {
        let node = server(&pki);
        let (each, _crowd) = cost_of_each(&node, count, || log_in(come(&node)));
        println!("{whom}: {each} bytes");
        assert!(each <= most, "{whom}: {each} bytes, {most} are allowed");
    }
}

#[test]
fn readers_that_never_read_and_messages_without_end_take_bounded_memory() {
    lift_limit();
    let pki = Pki::make();
    let node = server(&pki);
    let count: u64 = if is_long() { 200 } else { 20 };
    let session = || {
        let mut raw = Raw::tls(node.port(), Handshake::default()).expect("a handshake");
        raw.startup(&[("user", "postgres"), ("database", "postgres")]);
        assert_eq!(raw.outcome(), "ready");
        raw
    };
    let before = node.rss_anon_bytes();
    let mut readers: Vec<Raw> = (0..count).map(|_| session()).collect();
    for reader in &mut readers {
        reader.send(b'Q', b"SELECT repeat('x', 1000) FROM generate_series(1, 10000000)\0");
    }
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT repeat%'";
    node.wait_for(waits, &count.to_string());
    // All of them have filled what there is between server and client, and then nothing grows any more.
    let mut last = node.rss_anon_bytes();
    wait_until("the server's memory rests", Duration::from_secs(60), || {
        let now = node.rss_anon_bytes();
        let rests = now.abs_diff(last) < 64 << 10;
        last = now;
        if rests { Ok(()) } else { Err(format!("{now} bytes")) }
    });
    let each = last.saturating_sub(before) / count;
    println!("a reader that never reads, under TLS: {each} bytes");
    assert!(each < 2 << 20, "{each} bytes for a reader that never reads");
    // A message of a gigabyte is refused when its length is known.
    let mut large = session();
    large.write(b"Q\x3f\xff\xff\xff");
    assert!(large.outcome().starts_with("08P01"));
    drop(readers);
    assert_eq!(node.sql("SELECT 1"), "1");
}
