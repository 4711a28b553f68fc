use super::*;
use crate::net::flow::{RECEIVE_BUFFER, SEND_BUFFER};
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const PORT: u16 = 5432;
const CUT: Link = Link { delay: Duration::ZERO..=Duration::ZERO, bytes_per_second: None, cut: true };

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at_b() -> SocketAddr {
    SocketAddr::new(address_of(B), PORT)
}

fn listen(network: &Network) -> Listener {
    Listener::bind(network.clone(), B, SocketAddr::from(([0; 4], PORT)), 8).unwrap()
}

async fn connect(network: &Network) -> Result<Stream> {
    Stream::connect(network.clone(), A, at_b()).await
}

/// A connection from A to B.
async fn pair(network: &Network) -> (Stream, Stream) {
    let listener = listen(network);
    let opened = connect(network).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    assert_eq!((peer, opened.peer_addr()), (opened.local_addr(), at_b()));
    assert_eq!(peer.ip(), address_of(A));
    (opened, accepted)
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// Writes in parts of random lengths, then ends.
async fn write_in_parts(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], seed: u64) {
    let (mut random, mut left) = (fastrand::Rng::with_seed(seed), bytes);
    while !left.is_empty() {
        let (part, rest) = left.split_at(random.usize(1..=left.len().min(20_000)));
        stream.write_all(part).await.unwrap();
        left = rest;
        if random.bool() {
            tokio::time::sleep(Duration::from_millis(random.u64(..3))).await;
        }
    }
    stream.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tap_hears_what_is_written_in_order_and_only_where_it_is_wanted() {
    let network = Network::install(3);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = heard.clone();
    network.tap(
        |from, _| from == A,
        move |written: &Written| {
            assert_eq!((written.from, written.to, written.side), (A, B, 0));
            sink.lock().extend_from_slice(&written.bytes);
        },
    );
    let (mut opened, mut accepted) = pair(&network).await;
    let bytes = noise(3, 50_000);
    let send = async {
        opened.write_all(&bytes).await.unwrap();
        opened.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(send, accepted.read_to_end(&mut received));
    read.unwrap();
    accepted.write_all(b"nobody listens to this").await.unwrap();
    assert_eq!((*heard.lock() == bytes, received == bytes), (true, true));
}

#[tokio::test(start_paused = true)]
async fn bytes_come_in_order_both_ways_however_they_are_cut() {
    for seed in 0..50 {
        let network = Network::install(seed);
        let (mut opened, mut accepted) = pair(&network).await;
        let (there, back) = (noise(seed, 500_000), noise(seed + 1000, 300_000));
        let (sent, answered) = (there.clone(), back.clone());
        let opener = tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(&mut opened);
            let mut got = Vec::new();
            let (read, ()) = tokio::join!(from.read_to_end(&mut got), write_in_parts(&mut to, &sent, seed));
            read.unwrap();
            got
        });
        let (mut from, mut to) = tokio::io::split(&mut accepted);
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(from.read_to_end(&mut got), write_in_parts(&mut to, &answered, seed));
        read.unwrap();
        assert!(got == there, "seed {seed}");
        assert!(opener.await.unwrap() == back, "seed {seed}");
        assert_eq!(network.counters().bytes, 800_000);
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_are_cut_at_places_that_nobody_has_chosen() {
    let network = Network::install(3);
    let (mut opened, mut accepted) = pair(&network).await;
    let (mut whole, mut message) = (0, [0; 100]);
    for _ in 0..200 {
        opened.write_all(&[7; 100]).await.unwrap();
        let first = accepted.read(&mut message).await.unwrap();
        accepted.read_exact(&mut message[first..]).await.unwrap();
        whole += usize::from(first == 100);
    }
    assert!((100..195).contains(&whole), "{whole} of 200 messages came in one piece");
}

#[tokio::test(start_paused = true)]
async fn who_writes_waits_for_who_does_not_read() {
    let network = Network::install(4);
    let (mut opened, mut accepted) = pair(&network).await;
    let mut taken = 0;
    while let Ok(count) = timeout(seconds(5), opened.write(&[1; 10_000])).await {
        taken += count.unwrap();
    }
    assert_eq!(taken, SEND_BUFFER + RECEIVE_BUFFER);
    let mut got = vec![0; RECEIVE_BUFFER];
    accepted.read_exact(&mut got).await.unwrap();
    timeout(seconds(1), opened.write_all(&[1; 10_000])).await.expect("there is room").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_way_that_is_cut_holds_what_it_has_until_it_heals() {
    let network = Network::install(5);
    let (mut opened, mut accepted) = pair(&network).await;
    network.set_link(A, B, CUT);
    opened.write_all(b"held").await.unwrap();
    accepted.write_all(b"through").await.unwrap();
    let mut got = [0; 7];
    opened.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"through");
    let mut got = [0; 4];
    assert!(timeout(seconds(60), accepted.read_exact(&mut got)).await.is_err());
    network.set_cut(A, B, false);
    timeout(seconds(1), accepted.read_exact(&mut got)).await.expect("it is sent again").unwrap();
    assert_eq!(&got, b"held");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_acknowledges_ends_the_connection_in_time() {
    let network = Network::install(6);
    let (mut opened, mut accepted) = pair(&network).await;
    opened.set_user_timeout(Some(seconds(10)));
    network.set_link(B, A, CUT);
    let begun = Instant::now();
    opened.write_all(b"arrives").await.unwrap();
    let mut got = [0; 7];
    accepted.read_exact(&mut got).await.unwrap();
    assert_eq!(opened.read(&mut got).await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(opened.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(opened.read(&mut got).await.unwrap(), 0);
    network.heal_all();
    // The other end learns of it when it sends.
    accepted.write_all(b"still there?").await.unwrap();
    assert_eq!(accepted.read(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_sleeps_for_too_long_ends_the_connection_too() {
    let network = Network::install(7);
    let (mut opened, _accepted) = pair(&network).await;
    opened.set_user_timeout(Some(seconds(10)));
    let written = opened.write_all(&vec![0; 2 * (SEND_BUFFER + RECEIVE_BUFFER)]).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_reset_loses_what_is_on_its_way_from_any_byte_on() {
    let mut lengths = Vec::new();
    for seed in 0..40 {
        let network = Network::install(seed);
        let (mut opened, mut accepted) = pair(&network).await;
        let sent = noise(seed, 1000);
        opened.write_all(&sent).await.unwrap();
        network.reset_between(B, A);
        assert_eq!(opened.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(opened.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut got = Vec::new();
        let end = accepted.read_to_end(&mut got).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(sent.starts_with(&got));
        lengths.push(got.len());
        assert_eq!(network.counters().resets, 2);
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 30, "cut at {lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_power_is_silent_and_then_knows_nothing() {
    let network = Network::install(8);
    let (mut opened, _accepted) = pair(&network).await;
    network.power_off(B);
    let mut got = [0; 10];
    assert!(timeout(seconds(600), opened.read(&mut got)).await.is_err(), "who only listens learns nothing");
    opened.write_all(b"hello?").await.unwrap();
    assert!(timeout(seconds(60), opened.read(&mut got)).await.is_err());
    network.power_on(B);
    let answer = timeout(seconds(1), opened.read(&mut got)).await.expect("the new kernel answers");
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(connect(&network).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(start_paused = true)]
async fn keepalives_notice_a_machine_that_is_gone() {
    let network = Network::install(9);
    let (mut opened, _accepted) = pair(&network).await;
    opened.set_keepalive(Some(seconds(60)), Some(seconds(10)), Some(3));
    let mut got = [0; 1];
    assert!(timeout(seconds(3600), opened.read(&mut got)).await.is_err(), "it is there");
    network.power_off(B);
    let begun = Instant::now();
    assert_eq!(opened.read(&mut got).await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!((30..=91).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_is_noticed_at_once() {
    let network = Network::install(10);
    let listener = listen(&network);
    let (mut idle, mut unread) = (connect(&network).await.unwrap(), connect(&network).await.unwrap());
    let _accepted = [listener.accept().await.unwrap(), listener.accept().await.unwrap()];
    unread.write_all(b"nobody reads this").await.unwrap();
    tokio::time::sleep(seconds(1)).await;
    network.kill(B);
    let begun = Instant::now();
    let mut got = [0; 1];
    assert_eq!(idle.read(&mut got).await.unwrap(), 0);
    assert_eq!(unread.read(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    idle.write_all(b"more").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(idle.write(b"more").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(connect(&network).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(begun.elapsed() < Duration::from_millis(50));
    let _new_life = listen(&network);
    connect(&network).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn connecting_is_refused_or_tried_again_until_it_succeeds_or_has_taken_too_long() {
    let network = Network::install(11);
    let begun = Instant::now();
    assert_eq!(connect(&network).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(begun.elapsed() < Duration::from_millis(10));
    network.power_off(B);
    let waiting = tokio::spawn({
        let network = network.clone();
        async move { connect(&network).await }
    });
    tokio::time::sleep(seconds(5)).await;
    assert!(!waiting.is_finished());
    network.power_on(B);
    let listener = listen(&network);
    waiting.await.unwrap().unwrap();
    listener.accept().await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 7, "the third packet came through");
    network.set_link(B, A, CUT);
    let begun = Instant::now();
    assert_eq!(connect(&network).await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), 127);
    assert!(timeout(seconds(1), connect(&network)).await.is_err());
    assert!(timeout(seconds(1), listener.accept()).await.is_err(), "nothing was made");
}

#[tokio::test(start_paused = true)]
async fn addresses_are_those_of_the_machine_and_taken_once() {
    let network = Network::install(12);
    let bind = |node, address: &str| Listener::bind(network.clone(), node, address.parse().unwrap(), 1);
    let own = bind(A, "10.0.0.1:5432").unwrap();
    let failure = |bound: Result<Listener>| bound.unwrap_err().kind();
    assert_eq!(failure(bind(B, "10.0.0.1:5432")), ErrorKind::AddrNotAvailable);
    assert_eq!(failure(bind(A, "10.0.0.1:5432")), ErrorKind::AddrInUse);
    assert_eq!(failure(bind(A, "0.0.0.0:5432")), ErrorKind::AddrInUse);
    let _others = [bind(A, "127.0.0.1:5432").unwrap(), bind(B, "0.0.0.0:5432").unwrap()];
    let _six = bind(A, "[::]:5432").unwrap();
    assert_ne!(bind(A, "10.0.0.1:0").unwrap().local_addr().port(), 0);
    assert_eq!(own.local_addr(), "10.0.0.1:5432".parse().unwrap());
    drop(own);
    let again = bind(A, "10.0.0.1:5432").unwrap();
    let to_itself = Stream::connect(network.clone(), A, again.local_addr()).await.unwrap();
    assert_eq!(again.accept().await.unwrap().1, to_itself.local_addr());
    let loopback = Stream::connect(network.clone(), A, "127.0.0.1:5432".parse().unwrap()).await.unwrap();
    assert!(loopback.local_addr().ip().is_loopback());
    let nowhere = Stream::connect(network.clone(), A, "192.168.1.1:1".parse().unwrap()).await;
    assert_eq!(nowhere.unwrap_err().kind(), ErrorKind::NetworkUnreachable);
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_takes_the_time_that_its_speed_says() {
    let network = Network::install(13);
    let (mut opened, mut accepted) = pair(&network).await;
    network.set_link(A, B, Link { bytes_per_second: Some(1 << 20), ..Link::default() });
    let begun = Instant::now();
    let mut got = vec![0; 4 << 20];
    let sent = got.clone();
    let (read, written) = tokio::join!(accepted.read_exact(&mut got), opened.write_all(&sent));
    read.unwrap();
    written.unwrap();
    assert!((4000..4500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

/// One fault, or the end of one; whether it breaks connections.
fn disturb(network: &Network, random: &mut fastrand::Rng) -> bool {
    let (from, to) = if random.bool() { (A, B) } else { (B, A) };
    let fault = random.u8(..8);
    let breaks = (3..6).contains(&fault) && random.u8(..20) == 0;
    match fault {
        0 => network.set_cut(from, to, true),
        1 => network.set_cut(from, to, false),
        2 => {
            let delay = Duration::ZERO..=Duration::from_millis(random.u64(..200));
            let bytes_per_second = Some(random.u64(50_000..500_000));
            network.set_link(from, to, Link { delay, bytes_per_second, cut: false });
        }
        3 if breaks => network.reset_between(from, to),
        4 if breaks => network.kill(from),
        5 if breaks => {
            network.power_off(from);
            network.power_on(from);
        }
        _ => network.heal_all(),
    }
    breaks
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_a_reader_gets_what_was_sent_up_to_some_byte() {
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..150 {
        let network = Network::install(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        network.set_default_link(Link { bytes_per_second: Some(50_000), ..Link::default() });
        let (mut opened, mut accepted) = pair(&network).await;
        opened.set_user_timeout(Some(seconds(20)));
        let sent = noise(seed, 400_000);
        let bytes = sent.clone();
        let writing = tokio::spawn(async move {
            let all = async {
                opened.write_all(&bytes).await?;
                opened.shutdown().await?;
                // As a client does, it waits until the other has closed.
                opened.read(&mut [0]).await
            };
            // Nothing wakes the programs of a machine that is gone.
            matches!(timeout(seconds(2000), all).await, Ok(Ok(_)))
        });
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            let end = timeout(seconds(2000), accepted.read_to_end(&mut got)).await;
            (got, matches!(end, Ok(Ok(_))))
        });
        let mut breaks = false;
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(random.u64(..500))).await;
            breaks |= disturb(&network, &mut random);
        }
        network.heal_all();
        let (written, (got, ended)) = (writing.await.unwrap(), reading.await.unwrap());
        assert!(sent.starts_with(&got), "seed {seed}: {} bytes", got.len());
        if written && ended && got.len() == sent.len() {
            whole += 1;
        } else {
            broken += 1;
            assert!(breaks || network.counters().timeouts > 0, "seed {seed}: nothing broke it");
        }
        assert_eq!(network.open_connections(), 0, "seed {seed}");
    }
    assert!(whole > 20 && broken > 20, "{whole} whole, {broken} broken");
}

/// All that happened in a run with faults.
async fn story(seed: u64) -> Vec<(Duration, Event)> {
    let network = Network::install(seed);
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    network.observe(move |at, event| sink.lock().push((at, *event)));
    for round in 0..10 {
        let (mut opened, mut accepted) = pair(&network).await;
        let echo = tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(&mut accepted);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        for part in 0..20 {
            let _ = opened.write_all(&noise(part, 3000)).await;
            let mut got = [0; 3000];
            let _ = timeout(seconds(1), opened.read_exact(&mut got)).await;
            match (round + part) % 9 {
                0 => network.set_cut(A, B, true),
                4 => network.heal_all(),
                8 if round % 3 == 2 => network.reset_between(A, B),
                _ => {}
            }
        }
        drop(opened);
        network.heal_all();
        echo.await.unwrap();
    }
    std::mem::take(&mut *told.lock())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_events() {
    let (first, second, other) = (story(1).await, story(1).await, story(2).await);
    assert!(first.len() > 200, "{} events", first.len());
    assert_eq!(first, second);
    assert_ne!(first, other);
}
