//! Pages between which rows may have moved, as far as a log was read: splits and repacks move them. Changes
//! by one transaction on pages of different groups are of different rows. A page that goes from a tree moves
//! none: it is empty, and so has no version of a transaction that is open.

use std::collections::HashMap;
use storage::records::{MAP_ID, info};
use wal::{BlockNumber, Fork, Record, RelFile};

/// A page of a tree.
pub(crate) type Place = (RelFile, BlockNumber);

/// Groups of pages.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Of each page but the first of its group, one that is nearer to that.
    towards: HashMap<Place, Place>,
}

impl Moved {
    /// Takes a record of the engine in, if it is of a relation that `wants` takes.
    pub(crate) fn note(&mut self, record: &Record, wants: &dyn Fn(RelFile) -> bool) {
        // The parent gets no row of these pages.
        let parent = match record.rmgr_info() {
            info::SPLIT => Some(2),
            info::REPACK => Some(0),
            info::ROOT_SPLIT => None,
            _ => return,
        };
        let is_leaf = |id: u8| id < MAP_ID && Some(id) != parent;
        let pages = record.blocks().filter(|block| block.fork == Fork::Main && is_leaf(block.id));
        let mut groups = pages.filter(|block| wants(block.rel)).map(|block| (block.rel, block.block));
        let Some(first) = groups.next().map(|place| self.group_of(place)) else { return };
        for place in groups {
            let group = self.group_of(place);
            if group != first {
                self.towards.insert(group, first);
            }
        }
    }

    /// The group that a page is in, by one of its pages.
    pub(crate) fn group_of(&self, mut place: Place) -> Place {
        while let Some(next) = self.towards.get(&place) {
            place = *next;
        }
        place
    }
}
