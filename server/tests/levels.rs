//! Every level, with FIRST and ANY, over one to three standbys that are held at each stage: a commit waits
//! for exactly what its level and the rule ask for, and for no more. The standbys are played by this test, so
//! each says what it is told to say.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, stop};
use host::Timestamp;
use protocol::Client;
use protocol::client::CopyStart;
use protocol::replication::{FromPrimary, StatusUpdate, WireLsn, encode_status_update};
use server::StopMode;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use wal::Lsn;

/// How far a standby says it is with a commit: nothing of it, or written, flushed, replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stage(usize);

impl Stage {
    const NOTHING: Self = Self(0);
    const REPLAYED: Self = Self(3);

    /// written, flushed and replayed of a standby at this stage of the log between `from` and `to`.
    fn positions(self, from: Lsn, to: Lsn) -> [Lsn; 3] {
        [1, 2, 3].map(|stage| if self.0 >= stage { to } else { from })
    }
}

/// The remote levels and the stage that each needs.
const LEVELS: [(&str, Stage); 3] = [("remote_write", Stage(1)), ("on", Stage(2)), ("remote_apply", Stage(3))];

struct Standby {
    name: String,
    says: mpsc::UnboundedSender<[Lsn; 3]>,
    received: watch::Receiver<u64>,
}

impl Standby {
    async fn connect(place: &Place, name: &str, from: Lsn) -> Self {
        let mut client =
            place.connect_with(&format!("replication=true application_name={name}")).await.unwrap();
        let (says, mut orders) = mpsc::unbounded_channel::<[Lsn; 3]>();
        let (seen, received) = watch::channel(from.get());
        tokio::spawn(async move {
            let command = format!("START_REPLICATION {from} TIMELINE 1");
            let Ok(CopyStart::Streaming(mut stream)) = client.copy_both(&command).await else { return };
            loop {
                tokio::select! {
                    order = orders.recv() => {
                        let Some([written, flushed, applied]) = order.map(|at| at.map(|at| WireLsn::new(at.get()))) else { return };
                        let clock = Timestamp::from_micros(0);
                        let status = StatusUpdate { written, flushed, applied, clock, reply_requested: false };
                        stream.queue(|out| encode_status_update(out, &status));
                        stream.flush().await.unwrap();
                    }
                    message = stream.next() => {
                        let Ok(Some(message)) = message else { return };
                        if let FromPrimary::Data { start, wal, .. } = FromPrimary::decode(&message).unwrap() {
                            seen.send_replace(start.get() + wal.len() as u64);
                        }
                    }
                }
            }
        });
        Self { name: name.to_owned(), says, received }
    }

    async fn has_received(&mut self, upto: Lsn) {
        self.received.wait_for(|end| *end >= upto.get()).await.unwrap();
    }

    /// Says how far it is, and waits until the primary knows.
    async fn say(&self, watcher: &mut Client, positions: [Lsn; 3]) {
        self.says.send(positions).unwrap();
        let [written, flushed, applied] = positions;
        let sql = format!(
            "select state = 'streaming' and write_lsn = '{written}' and flush_lsn = '{flushed}' and replay_lsn = '{applied}' \
             from pg_stat_replication where application_name = '{}'",
            self.name
        );
        until(watcher, &sql, "t").await;
    }
}

async fn value(client: &mut Client, sql: &str) -> String {
    client.query(sql).await.unwrap().text(0, 0).unwrap_or_default().to_owned()
}

async fn until(client: &mut Client, sql: &str, expected: &str) {
    let begun = Instant::now();
    loop {
        let got = value(client, sql).await;
        if got == expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{sql}: {got} instead of {expected}");
        tokio::task::yield_now().await;
    }
}

struct Cluster {
    place: Place,
    standbys: Vec<Standby>,
    watcher: Client,
    next: i64,
}

impl Cluster {
    async fn flushed(&mut self) -> Lsn {
        value(&mut self.watcher, "select pg_current_wal_flush_lsn()").await.parse().unwrap()
    }

    /// Has commits wait by these names, which are in force once each standby stands as `states` says.
    async fn set_names(&mut self, names: &str, states: &[&str]) {
        self.watcher.query(&format!("alter system set synchronous_standby_names = '{names}'")).await.unwrap();
        self.watcher.query("select pg_reload_conf()").await.unwrap();
        until(&mut self.watcher, "select current_setting('synchronous_standby_names')", names).await;
        let shown = "select string_agg(sync_state, ', ' order by application_name) from pg_stat_replication";
        until(&mut self.watcher, shown, &states.join(", ")).await;
    }

    async fn say(&mut self, standby: usize, stage: Stage, from: Lsn, to: Lsn) {
        self.standbys[standby].say(&mut self.watcher, stage.positions(from, to)).await;
    }

    /// A commit at this level while the standbys stand at `held`; it must wait. Then `last` moves to
    /// `enough`, and it must not.
    async fn commit_waits_for(
        &mut self,
        what: &str,
        level: &str,
        held: &[Stage],
        last: usize,
        enough: Stage,
    ) {
        let from = self.flushed().await;
        for standby in 0..self.standbys.len() {
            self.standbys[standby].has_received(from).await;
            self.say(standby, Stage::REPLAYED, from, from).await;
        }
        let id = self.next;
        self.next += 1;
        let mut writer = self.place.connect_with("application_name=writer").await.unwrap();
        writer.query(&format!("set synchronous_commit = {level}")).await.unwrap();
        let writing = tokio::spawn(async move {
            writer.query(&format!("insert into t values ({id})")).await.unwrap();
            writer.close().await;
        });
        let waits =
            "select wait_event from pg_stat_activity where application_name = 'writer' and state = 'active'";
        until(&mut self.watcher, waits, "SyncRep").await;
        let to = self.flushed().await;
        for (standby, stage) in held.iter().enumerate() {
            self.standbys[standby].has_received(to).await;
            self.say(standby, *stage, from, to).await;
        }
        // The view shows a report only after the rule was applied to it, and a commit that is let go is seen
        // at once.
        let seen = format!("select count(*) from t where id = {id}");
        assert_eq!(value(&mut self.watcher, &seen).await, "0", "{what}, {level}, {held:?}");
        assert!(!writing.is_finished(), "{what}, {level}, {held:?}");
        self.say(last, enough, from, to).await;
        assert_eq!(
            value(&mut self.watcher, &seen).await,
            "1",
            "{what}, {level}, {held:?}, then {last} at {enough:?}"
        );
        writing.await.unwrap();
        let gone = "select count(*) from pg_stat_activity where application_name = 'writer'";
        until(&mut self.watcher, gone, "0").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_waits_for_exactly_its_level_on_exactly_its_standbys() {
    let place = Place::new().await;
    let server = place.start(&[("wal_sender_timeout", "0")]).await;
    place.psql("create table t (id bigint primary key)").await;
    let watcher = place.connect().await;
    let mut cluster = Cluster { place, standbys: Vec::new(), watcher, next: 0 };
    let all = ["s0", "s1", "s2"];
    for count in 1..=all.len() {
        let from = cluster.flushed().await;
        let standby = Standby::connect(&cluster.place, all[count - 1], from).await;
        standby.say(&mut cluster.watcher, [from; 3]).await;
        cluster.standbys.push(standby);
        let list = all[..count].join(", ");
        for required in 1..=count {
            for (level, needed) in LEVELS {
                let short = Stage(needed.0 - 1);
                let first = format!("FIRST {required} ({list})");
                let mut states = vec!["potential"; count];
                states[..required].fill("sync");
                cluster.set_names(&first, &states).await;
                for missing in 0..required {
                    // All others have everything, also those whose turn it is not.
                    let mut held = vec![Stage::REPLAYED; count];
                    held[missing] = short;
                    cluster.commit_waits_for(&first, level, &held, missing, needed).await;
                }
                let any = format!("ANY {required} ({list})");
                cluster.set_names(&any, &vec!["quorum"; count]).await;
                for subset in 0..1usize << count {
                    if subset.count_ones() as usize != required - 1 {
                        continue;
                    }
                    let has = |standby: usize| subset >> standby & 1 == 1;
                    let held: Vec<Stage> = (0..count)
                        .map(|standby| if has(standby) { Stage::REPLAYED } else { short })
                        .collect();
                    let last = (0..count).find(|standby| !has(*standby)).unwrap();
                    cluster.commit_waits_for(&any, level, &held, last, needed).await;
                }
            }
        }
    }
    // The levels below ask nobody, whatever the rule: the standbys have nothing of these commits.
    for level in ["off", "local"] {
        cluster.watcher.query(&format!("set synchronous_commit = {level}")).await.unwrap();
        cluster.watcher.query(&format!("insert into t values ({})", cluster.next)).await.unwrap();
        cluster.next += 1;
    }
    let from = cluster.flushed().await;
    cluster.standbys[0].has_received(from).await;
    cluster.say(0, Stage::NOTHING, from, from).await;
    stop(server, StopMode::Immediate).await;
}
