//! The tree side of the engine in one object: relation files, buffer pool, the log that page changes go to.
//!
//! Locks and their order: the write lock ([`Store::writer`]), then page latches (a tree page before its overflow
//! pages before the meta page), then the pool's and the files' own short locks. All logged changes of pages are
//! made by the one holder of the write lock, so a redo point taken under it falls between changes. Readers take
//! one tree page's latch at a time, and keep it only to follow that leaf's overflow pages.

use crate::pool::{OwnedPin, PageKey};
use crate::tree::{Prepared, Tree};
use crate::{Error, TreeId};
use host::Host;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use wal::{EncodedRecord, Lsn, RelFile, Xid};

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its first byte.
    pub start: Lsn,
    /// Its end, exclusive and aligned: the pd_lsn of the pages that it changed.
    pub end: Lsn,
}

/// The log as page changes need it.
pub trait Log: Send + Sync + fmt::Debug {
    /// Appends a record.
    fn insert(&self, record: &mut EncodedRecord) -> Result<Logged, Error>;
    /// The redo point of the running or last checkpoint: pages not changed since need an image.
    fn redo_point(&self) -> Lsn;
}

/// What must be done before a page with this pd_lsn may be written: on a primary the log is flushed up to there,
/// in recovery minRecoveryPoint is raised.
pub trait WriteBarrier: Send + Sync + fmt::Debug {
    /// Returns once the page may be written.
    fn before_page_write(&self, lsn: Lsn) -> Result<(), Error>;
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory.
    pub dir: PathBuf,
    /// Pages in the buffer pool, at least 128.
    pub frames: usize,
    /// Whether pages carry PostgreSQL's checksum (data_page_checksum_version of the control file).
    pub checksums: bool,
    /// Whether the first change of a page after a redo point logs its image.
    pub full_page_writes: bool,
}

/// What an operation on pages could not go on without, or why it failed.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This page is not in the pool: load it, keep it pinned, try again.
    Miss(PageKey),
    /// No frame is free without I/O: prepare again.
    NeedFrames,
    /// It failed.
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Files, pool and log; cloning shares them.
#[derive(Clone)]
pub struct Store {}

/// The right to change pages, of which there is one: the commit lock. Never held across an await.
pub struct Writer<'a> {
    store: &'a Store,
}

/// A version to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewVersion<'a> {
    /// The command of the transaction that wrote it.
    pub cid: u32,
    /// The row's bytes; None for a deletion.
    pub value: Option<&'a [u8]>,
}

impl Store {
    /// Opens the relation files below `base/`. Without a log it only reads and redoes.
    pub fn open(host: &Host, options: StoreOptions) -> Result<Self, Error> {
        let _ = (host, options);
        Err(Error::WrongState("the engine is not assembled"))
    }
    /// Lets changes go to this log from now on (a primary, or a standby at its promotion).
    pub fn set_log(&self, log: Arc<dyn Log>) {
        let _ = log;
    }
    /// Sets what is done before a page is written.
    pub fn set_barrier(&self, barrier: Arc<dyn WriteBarrier>) {
        let _ = barrier;
    }
    /// full_page_writes, or forced while a backup runs.
    pub fn set_full_page_writes(&self, on: bool) {
        let _ = on;
    }
    /// Waits for the write lock.
    pub fn writer(&self) -> Writer<'_> {
        Writer { store: self }
    }
    /// A tree by its number; [`Error::NoSuchTree`] if there is none. Does no I/O.
    pub fn tree(&self, tree: TreeId) -> Result<Tree, Error> {
        Err(Error::NoSuchTree(tree.file()))
    }
    /// Runs an operation on pages, loading on the I/O pool what it misses, until it succeeds or fails.
    pub async fn run<T>(&self, mut operation: impl FnMut() -> Result<T, Fault> + Send) -> Result<T, Error> {
        match operation() {
            Ok(value) => Ok(value),
            Err(Fault::Failed(error)) => Err(error),
            Err(_) => Err(Error::WrongState("the engine is not assembled")),
        }
    }
    /// As [`Store::run`], loading in place: for redo, tools and tests.
    pub fn run_blocking<T>(&self, mut operation: impl FnMut() -> Result<T, Fault>) -> Result<T, Error> {
        match operation() {
            Ok(value) => Ok(value),
            Err(Fault::Failed(error)) => Err(error),
            Err(_) => Err(Error::WrongState("the engine is not assembled")),
        }
    }
    /// Brings a page into the pool (blocking) and pins it.
    pub fn load(&self, key: PageKey) -> Result<OwnedPin, Error> {
        let _ = key;
        Err(Error::WrongState("the engine is not assembled"))
    }
    /// Forgets and removes the files of dropped relations. Nobody may use them any more.
    pub fn drop_files(&self, relations: &[RelFile]) -> Result<(), Error> {
        let _ = relations;
        Ok(())
    }
    /// Writes all pages changed before `redo`, in file order, and syncs every file written since the last time.
    /// `pace` is called after each page with the share done (0 to 1). Returns pages written.
    pub fn flush_before(&self, redo: Lsn, pace: &mut dyn FnMut(f64)) -> Result<u64, Error> {
        let _ = (redo, pace);
        Ok(0)
    }
}

impl Writer<'_> {
    /// The store.
    pub fn store(&self) -> &Store {
        self.store
    }
    /// The transaction whose versions follow.
    pub fn set_xid(&mut self, xid: Xid) {
        let _ = xid;
    }
    /// Every snapshot, here and on standbys, sees all xids below this one: versions under such a one are dead.
    pub fn set_horizon(&mut self, horizon: Xid) {
        let _ = horizon;
    }
    /// Allows this writer to read and write pages under the lock, for a transaction too large to be prepared.
    pub fn allow_io(&mut self, allowed: bool) {
        let _ = allowed;
    }
    /// Creates an empty tree: logs SMGR_CREATE and its first two pages.
    pub fn create_tree(&mut self, tree: TreeId) -> Result<(), Fault> {
        let _ = tree;
        Ok(())
    }
    /// Adds the newest version of `key`. [`Fault::Miss`] or [`Fault::NeedFrames`] (nothing done, or done by
    /// whole splits only): prepare again.
    pub fn insert_version(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        key: &[u8],
        version: NewVersion<'_>,
    ) -> Result<(), Fault> {
        let _ = (tree, prepared, key, version);
        Ok(())
    }
    /// Puts one field of the state page.
    pub fn put_state(&mut self, field: u16, bytes: &[u8]) -> Result<(), Fault> {
        let _ = (field, bytes);
        Ok(())
    }
}
