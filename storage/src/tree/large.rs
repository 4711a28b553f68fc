//! Reading large values, whose pages may be more than the pool holds: see [`crate::changes::resume`].

use super::{Fault, Tree};
use crate::changes::resume::{Reading, hold_large, take_large};
use crate::pages::page::PageKind;
use crate::pages::page::leaf;

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
                        hold_large(reading);
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

    /// What is held of this item's value, or its beginning. Takes over the memory of `value` if that is
    /// empty.
    fn begin_large(&self, item: &[u8], value: &mut Vec<u8>) -> Box<Reading> {
        let (rel, version, inline) = (self.relation.id(), leaf::item_head(item), leaf::item_value(item));
        let (start, len) = (leaf::chain_start(inline), leaf::large_len(inline) as usize);
        let is_it =
            |held: &Reading| (held.rel, held.version, held.start, held.len) == (rel, version, start, len);
        take_large().filter(|held| is_it(held)).unwrap_or_else(|| {
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
