//! The history check of the scenarios, on a primary and two standbys over virtual disks, with bugs planted in
//! the publication of snapshots: it passes the engine as it is and finds each of them.

// One checker for both: it knows neither the engine nor the server.
#[path = "../../../simulation/cluster/src/history/registers.rs"]
#[allow(missing_docs, dead_code)]
mod checker;

use super::standby::{Standby, backup, follow, ship};
use super::*;
use crate::RemoteProgress;
use crate::visibility::snapshot::Planted;
use checker::{Client, Kind, Operation, REGISTERS, Values, check, check_kept};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wal::Lsn;

const CLIENTS: usize = 4;
const STEPS: usize = 600;

struct Cluster {
    disk: VirtualDisk,
    db: Database,
    tree: TreeId,
    standbys: Vec<Standby>,
    /// The ends of all commits.
    ends: Vec<Lsn>,
    values: Values,
}

fn name(register: usize) -> String {
    format!("register {register:02}")
}

async fn cluster() -> Cluster {
    let (disk, db, tree) = with_tree().await;
    let names: Vec<String> = (0..REGISTERS).map(name).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "0")).collect();
    write(&db, tree, &pairs, SyncLevel::Local).await;
    let mut standbys = Vec::new();
    for _ in 0..2 {
        let standby = follow(&backup(&disk, &db, async {}).await);
        standby.catch_up(&disk, &db);
        standbys.push(standby);
    }
    let ends = vec![db.positions().unwrap().flushed()];
    Cluster { disk, db, tree, standbys, ends, values: [0; REGISTERS] }
}

impl Cluster {
    fn node(&self, node: usize) -> &Database {
        node.checked_sub(1).map_or(&self.db, |at| &self.standbys[at].db)
    }

    /// A transaction that adds one to some registers, and what it leaves.
    async fn adds(&mut self, rng: &mut fastrand::Rng) -> (Transaction, Vec<(u8, u32)>) {
        let mut transaction = statement(&self.db, Isolation::ReadCommitted).await;
        let mut registers: Vec<usize> = (0..rng.usize(1..4)).map(|_| rng.usize(..REGISTERS)).collect();
        registers.sort_unstable();
        registers.dedup();
        let mut wrote = Vec::new();
        for register in registers {
            self.values[register] += 1;
            let value = self.values[register];
            put(&mut transaction, self.tree, &name(register), &value.to_string()).await.unwrap();
            wrote.push((u8::try_from(register).unwrap(), value));
        }
        (transaction, wrote)
    }

    async fn write(&mut self, rng: &mut fastrand::Rng) -> Operation {
        let (transaction, wrote) = self.adds(rng).await;
        let at = transaction.commit(SyncLevel::Local).await.unwrap().lsn;
        self.ends.push(at);
        Operation::Write { at: at.get(), wrote }
    }

    async fn read(&self, node: usize, after: Lsn) -> Operation {
        let reader = statement(self.node(node), Isolation::RepeatableRead).await;
        let mut values = [0; REGISTERS];
        for (register, value) in values.iter_mut().enumerate() {
            let read = get(&reader, self.tree, &name(register)).await;
            *value = read.map_or(0, |text| text.parse().unwrap());
        }
        let (node, at) = (u8::try_from(node).unwrap(), reader.snapshot_lsn().get());
        Operation::Read { node, after: after.get(), at, values }
    }

    /// Lets a standby redo the log up to there.
    fn bring(&self, standby: usize, upto: Lsn) {
        let standby = &self.standbys[standby];
        self.db.wal_writer_tick().unwrap();
        if standby.db.visible() < upto {
            ship(&self.disk, &standby.disk);
            standby.feed.give(upto);
        }
    }

    fn stop(self) {
        for standby in self.standbys {
            standby.stop();
        }
    }
}

/// Clients that write on the primary and read on all nodes, each with the newest token that it was given.
async fn history(planted: Option<Planted>, seed: u64) -> Vec<Client> {
    let mut cluster = cluster().await;
    for standby in &cluster.standbys {
        if let Some(planted) = planted {
            standby.db.0.visibility.plant(planted);
        }
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut clients = vec![Client::new(); CLIENTS];
    let mut tokens = [Lsn::INVALID; CLIENTS];
    for _ in 0..STEPS {
        let client = rng.usize(..CLIENTS);
        let done = match rng.u8(..3) {
            0 => cluster.write(&mut rng).await,
            _ => {
                let node = rng.usize(..3);
                if let Some(standby) = node.checked_sub(1) {
                    // What the token asks for, and now and then more.
                    let upto = cluster.ends[rng.usize(..cluster.ends.len())].max(tokens[client]);
                    cluster.bring(standby, upto);
                }
                cluster.read(node, tokens[client]).await
            }
        };
        let (Operation::Write { at, .. } | Operation::Read { at, .. }) = &done;
        tokens[client] = tokens[client].max(Lsn::new(*at));
        clients[client].push(done);
    }
    cluster.stop();
    clients
}

#[tokio::test]
async fn the_history_check_passes_the_engine_and_finds_snapshots_that_are_published_wrongly() {
    for seed in 0..3 {
        assert_eq!(check(&history(None, seed).await), Ok(STEPS), "seed {seed}");
        for planted in [Planted::OutOfOrder, Planted::PositionFirst] {
            let found = check(&history(Some(planted), seed).await);
            assert!(found.is_err(), "{planted:?} with seed {seed}");
            eprintln!("{planted:?}: {}", found.unwrap_err());
        }
    }
}

/// What a reader of the primary saw while the quorum lacked the last commit, and what the quorum has.
async fn failover(planted: bool) -> (Client, Values) {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut cluster = cluster().await;
    let mut client = vec![cluster.write(&mut rng).await];
    let held = *cluster.ends.last().unwrap();
    cluster.bring(0, held);
    let quorum = RemoteProgress { required: true, written: held, flushed: held, replayed: held };
    cluster.db.commit_gate().set_remote(quorum);
    if planted {
        cluster.db.0.visibility.plant(Planted::InDoubt);
    }
    let (transaction, _) = cluster.adds(&mut rng).await;
    let mut commit = pin!(transaction.commit(SyncLevel::On));
    let polled = commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending) || planted);
    client.push(cluster.read(0, Lsn::INVALID).await);
    let Operation::Read { values: left, .. } = cluster.read(1, held).await else { unreachable!() };
    cluster.stop();
    (client, left)
}

#[tokio::test]
async fn the_history_check_finds_a_read_that_a_failover_takes_away() {
    let (client, left) = failover(false).await;
    assert_eq!(check_kept(&[client], &left), Ok(()));
    let (client, left) = failover(true).await;
    let lost = check_kept(&[client], &left).err().map(|violation| violation.kind);
    assert_eq!(lost, Some(Kind::Lost));
}
