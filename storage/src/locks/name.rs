//! What can be locked.

use crate::TreeId;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash, Hasher};
use wal::Xid;

/// A key in memory that is compared often: most have room in here, and then take no allocation and no second
/// look.
pub(crate) type ShortKey = SmallVec<[u8; 23]>;

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockName {
    /// A key of a tree, whether it exists or not.
    Row(TreeId, ShortKey),
    /// A tree as a whole.
    Table(TreeId),
    /// A large transaction or a part of it, by its xid: held by itself until its outcome, so that others can
    /// wait for that.
    Transaction(Xid),
    /// A place for a large transaction.
    Place(u32),
}

/// The same without owning the key, for look-ups.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LockRef<'a> {
    Row(TreeId, &'a [u8]),
    Table(TreeId),
    Transaction(Xid),
    Place(u32),
}

impl LockRef<'_> {
    pub(super) fn to_owned(self) -> LockName {
        match self {
            Self::Row(tree, key) => LockName::Row(tree, ShortKey::from_slice(key)),
            Self::Table(tree) => LockName::Table(tree),
            Self::Transaction(xid) => LockName::Transaction(xid),
            Self::Place(number) => LockName::Place(number),
        }
    }
    pub(super) fn names(self, other: &LockName) -> bool {
        match (self, other) {
            (Self::Row(tree, key), LockName::Row(other_tree, other_key)) => {
                tree == *other_tree && key == &other_key[..]
            }
            (Self::Table(tree), LockName::Table(other)) => tree == *other,
            (Self::Transaction(xid), LockName::Transaction(other)) => xid == *other,
            (Self::Place(number), LockName::Place(other)) => number == *other,
            _ => false,
        }
    }
    pub(super) fn hash_with(self, build: &host::HashState) -> u64 {
        let mut state = build.build_hasher();
        match self {
            Self::Row(tree, key) => {
                tree.hash(&mut state);
                state.write(key);
            }
            Self::Table(tree) => tree.hash(&mut state),
            Self::Transaction(xid) => xid.hash(&mut state),
            Self::Place(number) => number.hash(&mut state),
        }
        state.finish()
    }
}
