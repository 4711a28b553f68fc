//! Transactions of all kinds across a checkpoint and a fork: what is told of each is what it did.

use super::large::{Before, checkpoint, discarded, fork, ground};
use super::new_tree;
use crate::{DiscardedCommit, Version};
use std::collections::{BTreeMap, BTreeSet};
use storage::{Database, Isolation, LockMode, LockWait, Savepoint, SyncLevel, Transaction, TreeId};
use wal::Lsn;

const ROWS: u64 = 12;
const OPEN_MAX: usize = 4;
const LARGE: usize = 2000;

type Value = Option<String>;
/// Of each row that a commit changed, what was there and what it left.
type Told = BTreeMap<u64, (Value, Value)>;

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A transaction on its way: what it wrote, outside of all savepoints and within each.
struct Going {
    transaction: Transaction,
    savepoints: Vec<Savepoint>,
    writes: Vec<BTreeMap<u64, Value>>,
    holds: BTreeSet<u64>,
}

/// What the database has by now, and what each commit changed.
struct Model {
    numbers: Numbers,
    db: Database,
    tree: TreeId,
    rows: BTreeMap<u64, String>,
    going: Vec<Going>,
    commits: BTreeMap<Lsn, Told>,
}

impl Model {
    async fn step(&mut self) {
        match self.numbers.below(20) {
            0 | 1 if self.going.len() < OPEN_MAX => self.begin(),
            2 => self.commit().await,
            3 => {
                if let Some(going) = self.take() {
                    drop(going.transaction);
                }
            }
            4 => self.db.sweep().await.unwrap(),
            5..8 => {
                if let Some(going) = self.any() {
                    going.savepoints.push(going.transaction.savepoint());
                    going.writes.push(BTreeMap::new());
                }
            }
            8 => {
                if let Some((going, savepoint)) = self.any_within() {
                    going.transaction.rollback_to(&savepoint).unwrap();
                    going.transaction.release(&savepoint);
                    going.writes.pop();
                }
            }
            9 | 10 => {
                if let Some((going, savepoint)) = self.any_within() {
                    going.transaction.release(&savepoint);
                    let within = going.writes.pop().unwrap();
                    going.writes.last_mut().unwrap().extend(within);
                }
            }
            _ => self.write().await,
        }
    }

    fn begin(&mut self) {
        // A small one has its rows in pages by its commit alone.
        self.db.set_write_set_limit(if self.numbers.below(3) == 0 { 1 << 20 } else { 1 });
        let transaction = self.db.begin(Isolation::ReadCommitted);
        let (savepoints, writes) = (Vec::new(), vec![BTreeMap::new()]);
        self.going.push(Going { transaction, savepoints, writes, holds: BTreeSet::new() });
    }

    fn any(&mut self) -> Option<&mut Going> {
        let at = self.numbers.below(self.going.len().max(1) as u64);
        self.going.get_mut(at as usize)
    }

    fn any_within(&mut self) -> Option<(&mut Going, Savepoint)> {
        let going = self.any()?;
        let savepoint = going.savepoints.pop()?;
        Some((going, savepoint))
    }

    fn take(&mut self) -> Option<Going> {
        let at = self.numbers.below(self.going.len().max(1) as u64) as usize;
        (at < self.going.len()).then(|| self.going.remove(at))
    }

    async fn write(&mut self) {
        let (row, kind) = (self.numbers.below(ROWS), self.numbers.below(10));
        let length = [10, 10, 100, 400, 3000][self.numbers.below(5) as usize];
        let value = format!("{:08} {}", self.numbers.below(1 << 30), "x".repeat(length));
        let value = (kind > 1).then_some(value);
        let tree = self.tree;
        let at = self.numbers.below(self.going.len().max(1) as u64) as usize;
        let held =
            self.going.iter().enumerate().any(|(other, going)| other != at && going.holds.contains(&row));
        let Some(going) = self.going.get_mut(at).filter(|_| !held) else { return };
        going.holds.insert(row);
        let key = format!("row {row:05}");
        let transaction = &mut going.transaction;
        transaction.begin_statement().await.unwrap();
        transaction.lock(tree, key.as_bytes(), LockMode::Exclusive, LockWait::Forever).await.unwrap();
        match &value {
            Some(value) => transaction.put(tree, key, value.clone()).unwrap(),
            None => transaction.delete(tree, key).unwrap(),
        }
        transaction.make_room().await.unwrap();
        going.writes.last_mut().unwrap().insert(row, value);
    }

    async fn commit(&mut self) {
        let Some(going) = self.take() else { return };
        let committed = going.transaction.commit(SyncLevel::Local).await.unwrap();
        let mut told = Told::new();
        for (row, value) in going.writes.into_iter().flatten() {
            let old = self.rows.get(&row).cloned();
            told.insert(row, (old, value));
        }
        told.retain(|_, (old, new)| old.is_some() || new.is_some());
        for (row, (_, new)) in &told {
            match new {
                Some(new) => drop(self.rows.insert(*row, new.clone())),
                None => drop(self.rows.remove(row)),
            }
        }
        if committed.xid.is_some() {
            self.commits.insert(committed.lsn, told);
        }
    }
}

/// Whether a version is this one, or may be told as unknown: also that of a large value, whose pages may be
/// another's by now.
fn is(version: &Version, value: &Value, may_be: bool) -> bool {
    match version {
        Version::Row(bytes) => value.as_ref().is_some_and(|value| value.as_bytes() == bytes),
        Version::None => value.is_none(),
        Version::Unknown => may_be || value.as_ref().is_some_and(|value| value.len() > LARGE),
    }
}

/// Compares what is told of a commit with what it did.
fn check(told: &DiscardedCommit, did: &Told, tree: TreeId, before: Before) -> Result<(), String> {
    let is_gone = before == Before::Gone;
    if told.is_partial && !is_gone {
        return Err("it is partial".to_owned());
    }
    let mut rows = BTreeSet::new();
    for change in told.changes.iter().filter(|change| change.rel == tree.file()) {
        let key =
            String::from_utf8(change.key.clone().ok_or("a key is missing")?).map_err(|e| e.to_string())?;
        let row: u64 = key[4..].parse().map_err(|_| key.clone())?;
        rows.insert(row);
        let nothing = (None, None);
        let (old, new) = did.get(&row).unwrap_or(&nothing);
        let is_right = is(&change.old, old, is_gone) && is(&change.new, new, false);
        if !is_right || !did.contains_key(&row) && !is_gone {
            let text = |version: &Version| match version {
                Version::Row(bytes) => String::from_utf8_lossy(bytes).chars().take(20).collect(),
                other => format!("{other:?}"),
            };
            let (xid, is_partial) = (told.xid, told.is_partial);
            let is_told = (text(&change.old), text(&change.new));
            return Err(format!(
                "xid {xid} (partial {is_partial}): row {row} is told as {is_told:?}, and was {:?}",
                did.get(&row)
            ));
        }
    }
    let missing: Vec<_> = did.keys().filter(|row| !rows.contains(row)).collect();
    if missing.is_empty() || told.is_partial { Ok(()) } else { Err(format!("rows {missing:?} are missing")) }
}

async fn run(seed: u64, before: Before) -> Result<[usize; 2], String> {
    let (disk, db, tree) = ground().await;
    let rows = (0..10).map(|row| (row, "common".to_owned())).collect();
    let numbers = Numbers(seed);
    let mut model =
        Model { numbers, db: db.clone(), tree, rows, going: Vec::new(), commits: BTreeMap::new() };
    let _ = checkpoint(&disk, &db).await;
    for _ in 0..60 {
        model.step().await;
    }
    let redo = fork(&disk, &db).await;
    model.commits.clear();
    for step in 0..60 {
        model.step().await;
        if step == 30 && seed.is_multiple_of(3) {
            let _ = checkpoint(&disk, &db).await;
        }
    }
    new_tree(&db).await;
    let Model { mut commits, going, db: shared, .. } = model;
    drop((going, shared, db));
    let told = discarded(&disk, redo, before).await;
    let unknown =
        |commit: &DiscardedCommit| commit.changes.iter().any(|change| change.old == Version::Unknown);
    let counts =
        [told.iter().filter(|commit| commit.is_partial).count(), told.iter().filter(|c| unknown(c)).count()];
    for told in told {
        // Others fill the log.
        let nothing = Told::new();
        check(&told, commits.remove(&told.end).as_ref().unwrap_or(&nothing), tree, before)?;
    }
    if commits.is_empty() { Ok(counts) } else { Err(format!("{commits:?} are not told")) }
}

#[tokio::test]
async fn each_commit_is_told_as_it_was() {
    let [mut partial, mut unknown] = [0, 0];
    for seed in 0..30 {
        for before in [Before::Kept, Before::Gone] {
            let [parts, unknowns] =
                run(seed, before).await.unwrap_or_else(|e| panic!("seed {seed}, {before:?}: {e}"));
            partial += parts;
            unknown += unknowns;
        }
    }
    println!("{partial} partial, {unknown} with unknown rows");
    assert!(partial > 5 && unknown < partial, "{partial} partial, {unknown} with unknown rows");
}
