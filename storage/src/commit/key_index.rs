//! The keys of one tree that a transaction has written, each with its latest entry in the journal.

use super::write_set::Write;
use crate::locks::ShortKey;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

/// With more keys than that a transaction has each beside its entry's number.
const FEW: usize = 16;

/// Numbers of entries in key order, a key's latest one only.
#[derive(Debug)]
pub(super) enum KeyIndex {
    /// Few keys, as most transactions have, are compared where they are: in the journal.
    Few(SmallVec<[u32; 4]>),
    Many(BTreeMap<ShortKey, u32>),
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

fn key_of(journal: &[Write], at: u32) -> &[u8] {
    &journal[at as usize].key
}

/// Where a key is among few, or where it belongs. Rows often come in key order: the last one is looked at
/// first.
fn find(few: &[u32], journal: &[Write], key: &[u8]) -> Result<usize, usize> {
    let Some((last, before)) = few.split_last() else { return Err(0) };
    match key_of(journal, *last).cmp(key) {
        Ordering::Less => Err(few.len()),
        Ordering::Equal => Ok(before.len()),
        Ordering::Greater => before.binary_search_by(|at| key_of(journal, *at).cmp(key)),
    }
}

impl KeyIndex {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    /// The latest entry of a key.
    pub(super) fn get(&self, journal: &[Write], key: &[u8]) -> Option<u32> {
        match self {
            Self::Few(few) => find(few, journal, key).ok().map(|place| few[place]),
            Self::Many(many) => {
                let comes_later = many.last_key_value().is_none_or(|(last, _)| last[..] < *key);
                if comes_later { None } else { many.get(key).copied() }
            }
        }
    }

    /// Makes an entry, which need not be in the journal yet, the latest one of its key; returns the one
    /// before.
    pub(super) fn put(&mut self, journal: &[Write], key: &[u8], at: u32) -> Option<u32> {
        if let Self::Few(few) = self {
            match find(few, journal, key) {
                Ok(place) => return Some(std::mem::replace(&mut few[place], at)),
                Err(place) if few.len() < FEW => {
                    few.insert(place, at);
                    return None;
                }
                Err(_) => {
                    let all = few.iter().map(|at| (ShortKey::from_slice(key_of(journal, *at)), *at));
                    *self = Self::Many(all.collect());
                }
            }
        }
        let Self::Many(many) = self else { return None };
        many.insert(ShortKey::from_slice(key), at)
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, journal: &[Write], key: &[u8]) {
        match self {
            Self::Few(few) => {
                if let Ok(place) = find(few, journal, key) {
                    few.remove(place);
                }
            }
            Self::Many(many) => _ = many.remove(key),
        }
    }

    fn parts(&self) -> (&[u32], Option<&BTreeMap<ShortKey, u32>>) {
        match self {
            Self::Few(few) => (few, None),
            Self::Many(many) => (&[], Some(many)),
        }
    }

    /// Each key's latest entry, in key order.
    pub(super) fn values(&self) -> impl Iterator<Item = u32> {
        let (few, many) = self.parts();
        few.iter().copied().chain(many.into_iter().flat_map(|many| many.values().copied()))
    }

    /// The same for the keys between bounds, of which the first is not behind the second.
    pub(super) fn range<'a>(
        &'a self,
        journal: &[Write],
        bounds: (Bound<&'a [u8]>, Bound<&'a [u8]>),
    ) -> impl DoubleEndedIterator<Item = u32> + use<'a> {
        let (few, many) = self.parts();
        let key = |at: &u32| key_of(journal, *at);
        let from = few.partition_point(|at| match bounds.0 {
            Bound::Included(bound) => key(at) < bound,
            Bound::Excluded(bound) => key(at) <= bound,
            Bound::Unbounded => false,
        });
        let to = few.partition_point(|at| match bounds.1 {
            Bound::Included(bound) => key(at) <= bound,
            Bound::Excluded(bound) => key(at) < bound,
            Bound::Unbounded => true,
        });
        let many = many.into_iter().flat_map(move |many| many.range::<[u8], _>(bounds).map(|(_, at)| *at));
        few.get(from..to).unwrap_or_default().iter().copied().chain(many)
    }
}
