//! xl_info of each record.

/// A version of a key.
pub const INSERT: u8 = 0x00;
/// A page and its new right neighbour, with the parent's downlink.
pub const SPLIT: u8 = 0x10;
/// The root's items go to two new pages.
pub const ROOT_SPLIT: u8 = 0x20;
/// Dead versions leave a leaf.
pub const PRUNE: u8 = 0x30;
/// A key's oldest versions move to an overflow page.
pub const CHAIN_PUSH: u8 = 0x40;
/// The pages between this one of a chain and another are dead.
pub const CHAIN_CUT: u8 = 0x50;
/// A new tree.
pub const TREE_INIT: u8 = 0x60;
/// A piece of a large value.
pub const LARGE: u8 = 0x70;
/// Pages that nothing leads to become free.
pub const FREE: u8 = 0x80;
/// A field of the state page.
pub const STATE: u8 = 0x90;
/// Versions of several keys of one leaf, by one command.
pub const INSERT_MANY: u8 = 0xD0;
/// Versions of aborted transactions leave an overflow page.
pub const CHAIN_PRUNE: u8 = 0xA0;
/// An empty leaf, with the ancestors that have no other child, leaves the tree.
pub const UNLINK: u8 = 0xB0;
/// Siblings side by side become fewer, or lie elsewhere.
pub const REPACK: u8 = 0xE0;
/// A file was cut: its map forgets the pages behind the end.
pub const TRIM: u8 = 0xC0;

/// Whether this record gives the pages that the blocks of its maps name; else it takes them.
pub const fn frees(info: u8) -> bool {
    matches!(info, PRUNE | CHAIN_CUT | FREE | CHAIN_PRUNE | UNLINK)
}

/// Whether this record takes pages out of a tree to which a descent may be on its way.
pub const fn reshapes(info: u8) -> bool {
    matches!(info, UNLINK | REPACK)
}
