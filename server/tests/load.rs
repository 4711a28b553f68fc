//! pgbench as the load: many clients, every protocol mode, and sums that must come out.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, stop};
use server::StopMode;

const SCHEMA: &str = "
    create table branches (bid int primary key, balance bigint not null);
    create table tellers (tid int primary key, bid int not null, balance bigint not null);
    create table accounts (aid int primary key, bid int not null, balance bigint not null);
    create table history (tid int, bid int, aid int, delta int, at timestamptz);
    insert into branches values (1, 0);
    insert into tellers select g, 1, 0 from generate_series(1, 10) g;
    insert into accounts select g, 1, 0 from generate_series(1, 1000) g";

const TPC_B: &str = "\\set aid random(1, 1000)
\\set tid random(1, 10)
\\set delta random(-5000, 5000)
begin;
update accounts set balance = balance + :delta where aid = :aid;
select balance from accounts where aid = :aid;
update tellers set balance = balance + :delta where tid = :tid;
update branches set balance = balance + :delta where bid = 1;
insert into history values (:tid, 1, :aid, :delta, now());
end;
";

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_mode_of_pgbench_keeps_the_books_balanced() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql(SCHEMA).await;
    let script = place.data().parent().unwrap().join("tpcb.sql");
    std::fs::write(&script, TPC_B).unwrap();
    for mode in ["simple", "extended", "prepared"] {
        let arguments = ["-n", "-M", mode, "-f", script.to_str().unwrap(), "-c", "8", "-j", "2", "-t", "50"];
        let report = place.run_ok("pgbench", &arguments).await;
        assert!(report.contains("number of transactions actually processed: 400/400"), "{report}");
    }
    let sums = "select (select sum(balance) from branches), (select sum(balance) from tellers),
        (select sum(balance) from accounts), (select sum(delta) from history)";
    let sums = place.psql(sums).await;
    let mut sums = sums.split('|');
    let first = sums.next().unwrap();
    assert!(sums.all(|sum| sum == first), "{first}");
    assert_eq!(place.psql("select count(*) from history").await, "1200");
    stop(server, StopMode::Immediate).await;
    let server = place.start(&[]).await;
    assert_eq!(place.psql("select count(*) from history").await, "1200");
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_costs_a_bounded_buffer() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("create table t (id int primary key, v text)").await;
    place.psql("insert into t select g, repeat('x', 1000) from generate_series(1, 10000) g").await;
    let mut lazy = place.connect().await;
    lazy.queue(|out| {
        protocol::frontend::query(out, "select a.v from t a, t b limit 5000000");
    });
    lazy.flush().await.unwrap();
    let mut other = place.connect().await;
    let before = resident();
    for _ in 0..50 {
        other.query("select count(*) from t").await.unwrap();
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 20, "resident memory grew by {grown} bytes");
    // A stop does not wait for it either.
    stop(server, StopMode::Fast).await;
}

/// Bytes of anonymous memory of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
