//! The engine's own records (resource manager 128): what each says, and what it does to each page that it
//! names.
//!
//! [`apply`] is the one function that changes tree pages. The writer calls it under the page's latch before
//! it logs the record, redo calls it with the record: so pages are a function of the log alone. A page's
//! change depends on that page and the record only, so the pages of one record may be changed in any order,
//! under all their latches.
//!
//! ```text
//! info  record       blocks                               main data
//! 00    INSERT       0 leaf                               index u16, key length u16, flags u8
//!                                                         (20: epoch u32 follows, 80: cid u32), key, value;
//!                                                         flag 40: see Like
//! 10    SPLIT        0 left, 1 right (new), 2 parent,     level u16, split u16, parent index u16, right u32,
//!                    [7]                                  separator length u16, separator
//! 20    ROOT_SPLIT   0 root, 1 left (new), 2 right (new), level u16, left u32, right u32,
//!                    [7]                                  separator length u16, separator
//! 30    PRUNE        0 leaf, [7...]                       horizon u64, count u16, index u16 each
//! 40    CHAIN_PUSH   0 leaf, 1 overflow (new), [7]        index u16, count u16, old chain u32,
//!                                                         new chain u32, xid u64, key length u16, key
//! 50    CHAIN_CUT    0 leaf (unchanged), 1 overflow,      horizon u64, next u32
//!                    [7...]
//! 60    TREE_INIT    0 map (new), 1 root (new; not with
//!                    a further map)
//! 70    LARGE        0 overflow (new), [7]                next u32
//! 80    FREE         7...
//! 90    STATE        0 state page (new the first time)    field u16, bytes
//! A0    CHAIN_PRUNE  0 leaf (unchanged), 1 overflow,      as PRUNE
//!                    [7...]
//! B0    UNLINK       0 parent; for each level, the        count u8, parent index u16,
//!                    leaf's first: 1, 3, 5 the page       right link u32 of each page
//!                    (freed), 2, 4, 6 its left
//!                    neighbour, if there is one; 7...
//! C0    TRIM         7 the last map                       pages u32
//! D0    INSERT_MANY  0 leaf                               epoch u32, cid u32, count u16, then for each, by
//!                                                         rising key: index u16, flags u8, key length u16,
//!                                                         value length u16, key, value
//! E0    REPACK       0 parent, [1] the left neighbour,    level u16, parent index u16, siblings u8,
//!                    2, 3 the pages that come of the      count u8, the pages u32 each,
//!                    siblings (new), 4, 5, 6 those that   separator length u16, separator
//!                    become free; 7...
//! ```
//!
//! Blocks from 7 on are maps of free pages ([`crate::pages::free_map`]); their data is block numbers, u32
//! each. PRUNE, CHAIN_CUT, FREE, CHAIN_PRUNE and UNLINK give these pages, the other records take them. REPACK
//! takes those that it packs into, and gives the others.
//!
//! A new page's data is its items: count u16, then for each length u16 and bytes (tree pages begin with right
//! link u32). Blocks are latched by rising id, so a leaf comes before its overflow pages, as readers latch
//! them.
//!
//! The xid of INSERT and INSERT_MANY is the record's, which has its low half. A commit's own xid was taken
//! right before its records, so its full one is the nearest to the next xid. An early xid may be older than
//! any distance that can be told from a half: its records give its high half too, the epoch ([`full_xid`]).
//! All other xids, in pages and in records, are full ones. PRUNE, CHAIN_CUT and CHAIN_PRUNE carry the horizon
//! that a standby's snapshots must have passed.

mod describe;
pub mod info;
mod reshape;
mod splits;
mod versions;

pub use crate::pages::page::ApplyError;
pub use describe::{EngineDescriber, name};
pub use reshape::{PACKED_MAX, REPACKED_MAX, Repack, UNLINKED_MAX, Unlink};
pub use splits::{RootSplit, Split};
pub use versions::{ChainPush, Insert, InsertMany, Like, Prune};

use crate::pages::free_map;
use crate::pages::page::leaf::ITEM_HEADER;
use crate::pages::page::{Page, PageKind};
use versions::{HAS_EPOCH, INSERT_EPOCH_AT};
use wal::codec::{Fields, PutFields, Short};
use wal::{BlockNumber, Record, Rmgr, Xid};

/// The id of the first block reference to a map of free pages.
pub const MAP_ID: u8 = 7;
/// Maps that one record names at most.
pub const MAPS_MAX: usize = 8;
/// Block of the first map.
pub const META: BlockNumber = BlockNumber::new(0);
/// Block of the root, for good.
pub const ROOT: BlockNumber = BlockNumber::new(1);

const META_MAGIC: u32 = 0x504C_494D;
const META_VERSION: u32 = 2;

fn block(fields: &mut Fields<'_>) -> Result<BlockNumber, Short> {
    fields.u32().map(BlockNumber::new)
}

fn index(fields: &mut Fields<'_>) -> Result<usize, Short> {
    fields.u16().map(usize::from)
}

fn prefixed<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Short> {
    let len = index(fields)?;
    fields.take(len)
}

/// A length or index inside a page; always below 2^16.
fn short(value: usize) -> u16 {
    debug_assert!(value <= usize::from(u16::MAX));
    value as u16
}

/// Appends the items `range` of a page as a new page's data.
pub fn encode_items<'a>(items: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.put_u16(short(items.len()));
    for item in items {
        out.put_u16(short(item.len()));
        out.put(item);
    }
}

fn put_items(page: &mut Page, fields: &mut Fields<'_>) -> Result<(), ApplyError> {
    for index in 0..index(fields)? {
        page.insert_item(index, &[prefixed(fields)?])?;
    }
    Ok(())
}

fn build_tree_page(page: &mut Page, level: u16, data: &[u8]) -> Result<(), ApplyError> {
    let mut fields = Fields::new(data);
    let right = block(&mut fields)?;
    page.init(if level == 0 { PageKind::Leaf } else { PageKind::Inner }, level, right);
    put_items(page, &mut fields)
}

fn apply_state(page: &mut Page, main: &[u8]) -> Result<(), ApplyError> {
    if page.kind() != Some(PageKind::State) {
        page.init(PageKind::State, 0, BlockNumber::INVALID);
    }
    let field = Fields::new(main).u16()?.to_le_bytes();
    let found = page.items().position(|item| item.starts_with(&field));
    match found {
        Some(index) => page.replace_item(index, main)?,
        None => page.insert_item(page.item_count(), &[main])?,
    }
    Ok(())
}

/// The xid of a record: the one with this epoch if it says one (any early xid), else the nearest to `near`,
/// the next xid as the log before it has it, which is right within 2^31 (any xid that a commit takes).
pub fn full_xid(record: &Record, near: Xid) -> Xid {
    let main = record.main_data();
    let epoch = match (record.rmgr() == Rmgr::ENGINE, record.rmgr_info()) {
        (true, info::INSERT) if main.get(INSERT_EPOCH_AT - 1).is_some_and(|flags| flags & HAS_EPOCH != 0) => {
            main.get(INSERT_EPOCH_AT..).and_then(<[u8]>::first_chunk)
        }
        (true, info::INSERT_MANY) => main.first_chunk(),
        _ => None,
    };
    match epoch {
        Some(epoch) => Xid::from_halves(u32::from_le_bytes(*epoch), record.xid_low()),
        None => Xid::from_low(record.xid_low(), near),
    }
}

/// Changes one page as the record says: `info` and `main` are the record's, `id` and `data` the block
/// reference's, `xid` the record's ([`full_xid`]). The page's LSN is the caller's business. After an error
/// the page is unspecified.
///
/// # Errors
/// Fails if the record has no such block, is too short, or does not fit the page.
pub fn apply(
    info: u8,
    id: u8,
    page: &mut Page,
    main: &[u8],
    data: &[u8],
    xid: Xid,
) -> Result<(), ApplyError> {
    match (info, id) {
        (info::TRIM, MAP_ID) => free_map::trim(page, Fields::new(main).u32()?),
        (info::REPACK, MAP_ID..) => Repack::decode(main)?.apply_to_map(page, data),
        (_, MAP_ID..) => free_map::apply(page, data, info::frees(info)),
        (info::INSERT, 0) => Ok(Insert::decode(main)?.apply(page, xid)?),
        (info::INSERT_MANY, 0) => InsertMany::apply(page, main, xid),
        (info::SPLIT, id) => Split::decode(main)?.apply(id, page, data),
        (info::ROOT_SPLIT, id) => RootSplit::decode(main)?.apply(id, page, data),
        (info::PRUNE, 0) | (info::CHAIN_PRUNE, 1) => {
            Prune::decode(main)?.apply(page);
            Ok(())
        }
        (info::CHAIN_PUSH, id) => ChainPush::decode(main)?.apply(id, page, data),
        (info::CHAIN_CUT, 1) => {
            let mut fields = Fields::new(main);
            fields.skip(8)?;
            page.set_right(block(&mut fields)?);
            Ok(())
        }
        // The leaf is there to be latched: whoever reads a chain holds its leaf.
        (info::CHAIN_CUT | info::CHAIN_PRUNE, 0) => Ok(()),
        (info::TREE_INIT, 0) => {
            page.init(PageKind::Meta, 0, BlockNumber::INVALID);
            let mut item = Vec::with_capacity(12);
            item.put_u32(META_MAGIC);
            item.put_u32(META_VERSION);
            item.put_u32(ROOT.get());
            page.insert_item(0, &[&item])?;
            Ok(page.insert_item(1, &[])?)
        }
        (info::TREE_INIT, 1) => Ok(page.init_tree_page(0, BlockNumber::INVALID, b"")?),
        (info::LARGE, 0) => {
            page.init(PageKind::Large, 0, block(&mut Fields::new(main))?);
            Ok(page.insert_item(0, &[data])?)
        }
        (info::UNLINK, id) => Unlink::decode(main)?.apply(id, page),
        (info::REPACK, id) => Repack::decode(main)?.apply(id, page, data),
        (info::STATE, 0) => apply_state(page, main),
        (info, id) => Err(ApplyError::Unknown { info, id }),
    }
}

/// The horizon of a record that removes versions: snapshots that do not see all xids below it may miss some
/// afterwards.
pub fn horizon(record: &Record) -> Option<Xid> {
    let prunes = record.rmgr() == Rmgr::ENGINE
        && matches!(record.rmgr_info(), info::PRUNE | info::CHAIN_CUT | info::CHAIN_PRUNE);
    let bytes = record.main_data().first_chunk::<8>().filter(|_| prunes)?;
    Some(Xid::new(u64::from_le_bytes(*bytes)))
}

/// The bytes that a version takes in a leaf, with its line pointer.
pub const fn version_space(key_len: usize, value_len: usize) -> usize {
    ITEM_HEADER + key_len + value_len + crate::pages::page::POINTER_SIZE
}
