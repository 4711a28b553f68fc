//! Reading large values, whose pages may be more than the pool holds.
//!
//! An operation on pages that misses one is run again from its start once the page is there. A large value would be read from its start
//! each time, and never to its end if its pages push each other out of the pool. So what was read of it is held until the next try,
//! on the thread that runs the operation ([`resuming`]); as long as the key still has that very version, its chain is the same.

use super::{Fault, Tree};
use crate::page::PageKind;
use crate::page::leaf::{self, ItemHead};
use std::cell::Cell;
use wal::{BlockNumber, RelFile};

thread_local! {
    /// What the operation on this thread had read when it missed a page.
    static HELD: Cell<Option<Box<Reading>>> = const { Cell::new(None) };
}

/// A large value, read as far as `next`.
#[derive(Debug)]
pub(crate) struct Reading {
    rel: RelFile,
    version: ItemHead,
    /// The first page of the chain and the length, as the leaf has them.
    start: BlockNumber,
    len: usize,
    bytes: Vec<u8>,
    next: BlockNumber,
    /// Pages that the chain may still have.
    left: u32,
}

/// Runs an operation that goes on with the large value that an earlier run of it had to leave off, if it comes to that again.
pub(crate) fn resuming<T>(
    held: &mut Option<Box<Reading>>,
    operation: &mut impl FnMut() -> Result<T, Fault>,
) -> Result<T, Fault> {
    if held.is_some() {
        HELD.set(held.take());
    }
    let done = operation();
    *held = HELD.take();
    done
}

impl Tree {
    /// Appends the value of an item whose value lies in large pages. On a fault nothing is appended.
    pub(super) fn append_large(&self, item: &[u8], value: &mut Vec<u8>) -> Result<(), Fault> {
        let mut reading = self.begin_large(item, value);
        while reading.next.is_valid() {
            match self.overflow(reading.next, PageKind::Large, &mut reading.left) {
                Ok(page) => {
                    reading.bytes.extend_from_slice(page.item(0));
                    reading.next = page.right();
                }
                Err(fault) => {
                    if matches!(fault, Fault::Miss(_)) {
                        HELD.set(Some(reading));
                    }
                    return Err(fault);
                }
            }
        }
        if reading.bytes.len() != reading.len {
            return Err(self.broken(reading.start, "a large value has another length than its row says"));
        }
        if value.is_empty() {
            *value = reading.bytes;
        } else {
            value.extend_from_slice(&reading.bytes);
        }
        Ok(())
    }

    /// What is held of this item's value, or its beginning. Takes over the memory of `value` if that is empty.
    fn begin_large(&self, item: &[u8], value: &mut Vec<u8>) -> Box<Reading> {
        let (rel, version, inline) = (self.relation.id(), leaf::item_head(item), leaf::item_value(item));
        let (start, len) = (leaf::chain_start(inline), leaf::large_len(inline) as usize);
        let is_it =
            |held: &Reading| (held.rel, held.version, held.start, held.len) == (rel, version, start, len);
        HELD.take().filter(|held| is_it(held)).unwrap_or_else(|| {
            let bytes = if value.is_empty() { std::mem::take(value) } else { Vec::new() };
            Box::new(Reading {
                rel,
                version,
                start,
                len,
                bytes,
                next: start,
                left: self.relation.page_count(),
            })
        })
    }
}
