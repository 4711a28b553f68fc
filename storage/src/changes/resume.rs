//! What an operation had done when it had to leave off.
//!
//! An operation on pages that misses one is run again from its start once the page is there. A chain of
//! versions or a large value may have more pages than the pool: begun again at its start each time, and its
//! pages pushing each other out of the pool, it would never be read to its end. So how far it was read is
//! held until the next run, on the thread that runs the operation ([`resuming`]).
//!
//! A large value is written once: it goes on as long as the key still has that very version. A walk along a
//! chain stands before a page of which no version, and of those before it none, was chosen. That page is
//! still the chain's next one whenever the walk goes on, because a chain grows at its head, and only what
//! lies behind the first version that every snapshot sees is cut off: the walk's own snapshot sees that one
//! too, and ends there. Only a snapshot that replay has given up may find another page, and then begins
//! again.

use super::store::Fault;
use crate::pages::page::leaf::ItemHead;
use std::cell::Cell;
use wal::{BlockNumber, RelFile};

/// Pages of a chain that are looked at in one go: then the leaf's latch and the thread are others' for a
/// moment.
pub(crate) const CHAIN_PAGES_AT_ONCE: usize = 256;

host::thread::local! {
    /// There is something while an operation runs that will be run again if it must leave off.
    static HELD: Cell<Option<Held>> = const { Cell::new(None) };
}

/// How far an operation had come.
#[derive(Debug, Default)]
pub(crate) struct Held {
    large: Option<Box<Reading>>,
    walk: Option<Walk>,
}

/// A large value, read as far as `next`.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) rel: RelFile,
    pub(crate) version: ItemHead,
    /// The first page of the chain and the length, as the leaf has them.
    pub(crate) start: BlockNumber,
    pub(crate) len: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) next: BlockNumber,
    /// Pages that the chain may still have.
    pub(crate) left: u32,
}

/// A walk along the chain of one key.
#[derive(Debug)]
pub(crate) struct Walk {
    rel: RelFile,
    key: Vec<u8>,
    /// The page to be looked at next.
    pub(crate) next: BlockNumber,
    /// Pages that the chain may still have.
    pub(crate) left: u32,
}

impl Walk {
    pub(crate) fn new(rel: RelFile, key: &[u8], next: BlockNumber, left: u32) -> Self {
        Self { rel, key: key.to_vec(), next, left }
    }
}

/// Takes everything away when the operation is over, also by a panic: the next one on this thread is another.
struct Scope<'h>(&'h mut Held);

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        *self.0 = HELD.take().unwrap_or_default();
    }
}

/// Runs an operation that goes on with what an earlier run of it had to leave off, if it comes to that again.
pub(crate) fn resuming<T>(
    held: &mut Held,
    operation: &mut impl FnMut() -> Result<T, Fault>,
) -> Result<T, Fault> {
    HELD.set(Some(std::mem::take(held)));
    let _scope = Scope(held);
    operation()
}

fn with<T>(work: impl FnOnce(&mut Held) -> T) -> Option<T> {
    let mut held = HELD.take()?;
    let done = work(&mut held);
    HELD.set(Some(held));
    Some(done)
}

/// Keeps a large value for the next run.
pub(crate) fn hold_large(reading: Box<Reading>) {
    with(|held| held.large = Some(reading));
}

/// The large value that was left off.
pub(crate) fn take_large() -> Option<Box<Reading>> {
    with(|held| held.large.take()).flatten()
}

/// Keeps a walk for the next run.
pub(crate) fn hold_walk(walk: Walk) {
    with(|held| held.walk = Some(walk));
}

/// The walk that was left off, if it is along this key's chain.
pub(crate) fn take_walk(rel: RelFile, key: &[u8]) -> Option<Walk> {
    with(|held| held.walk.take()).flatten().filter(|walk| walk.rel == rel && walk.key == key)
}
