//! Small sets of xids.

use std::sync::Arc;
use wal::Xid;

/// A small set of xids, shared; costs nothing when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct XidSet(Option<Arc<[Xid]>>);

impl XidSet {
    /// Whether `xid` is inside.
    pub(crate) fn contains(&self, xid: Xid) -> bool {
        self.0.as_ref().is_some_and(|set| set.binary_search(&xid).is_ok())
    }
    /// All, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Xid> {
        self.0.iter().flat_map(|set| set.iter().copied())
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
    pub(crate) fn with(&self, xids: impl IntoIterator<Item = Xid>) -> Self {
        self.iter().chain(xids).collect()
    }
    pub(super) fn without(&self, gone: impl Fn(Xid) -> bool) -> Self {
        self.iter().filter(|xid| !gone(*xid)).collect()
    }
}

impl FromIterator<Xid> for XidSet {
    fn from_iter<I: IntoIterator<Item = Xid>>(xids: I) -> Self {
        let mut all: Vec<Xid> = xids.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Self((!all.is_empty()).then(|| all.into()))
    }
}
