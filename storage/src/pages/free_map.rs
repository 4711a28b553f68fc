//! Which pages of a tree are free: one bit a page, in maps that lie in the tree's own file.
//!
//! ```text
//! block 0, SPAN, 2 * SPAN, ...   maps (kind Meta); each is for the SPAN blocks from its own on
//! item 0                         magic u32, version u32, root u32
//! item 1                         bits, that of a map's own block first; trailing zeros beyond the last
//!                                64 bytes are left out
//! ```
//!
//! Nothing leads to a free page, and what it holds means nothing: it is made anew when it is taken. The
//! lowest free page is taken first, so that the free ones gather at the file's end, from where they are cut
//! off. A bit may be set for a page behind the end (a crash came between the cut and the map's record): that
//! page is free as well. So a file grows only while no bit is set.

use crate::pages::page::{ApplyError, BadChange, Page, PageKind};
use wal::BlockNumber;
use wal::codec::Fields;

/// Bytes of a map's bits.
const BYTES: usize = 8128;
/// By how many bytes the stored part grows and shrinks.
const STEP: usize = 64;
/// Blocks of one map, its own included.
pub const SPAN: u32 = BYTES as u32 * 8;
const BITS: usize = 1;

// Two line pointers and the first item lie beside the bits.
const _: () = assert!(
    BYTES.is_multiple_of(STEP)
        && BYTES + 12 + 2 * crate::pages::page::POINTER_SIZE <= crate::pages::page::USABLE_SIZE
);

/// The block of the map that tells of `block`.
pub const fn map_of(block: BlockNumber) -> BlockNumber {
    BlockNumber::new(block.get() / SPAN * SPAN)
}

/// Whether this block is a map.
pub const fn is_map(block: BlockNumber) -> bool {
    block.get().is_multiple_of(SPAN)
}

/// How many maps a relation of so many pages has.
pub const fn map_count(pages: u32) -> u32 {
    pages.div_ceil(SPAN)
}

fn words(map: &Page) -> impl DoubleEndedIterator<Item = (u32, u64)> + ExactSizeIterator {
    let words = map.item(BITS).as_chunks::<8>().0;
    words.iter().enumerate().map(|(at, bytes)| (at as u32 * 64, u64::from_le_bytes(*bytes)))
}

/// The free blocks of a map whose own block is `map`, rising.
pub fn free_blocks(page: &Page, map: BlockNumber) -> impl Iterator<Item = BlockNumber> {
    words(page).filter(|(_, word)| *word != 0).flat_map(move |(at, word)| {
        let bits = (0..64).filter(move |bit| word >> bit & 1 != 0);
        bits.map(move |bit| BlockNumber::new(map.get() + at + bit))
    })
}

/// Whether a block is free.
pub fn is_free(page: &Page, block: BlockNumber) -> bool {
    let bit = block.get() % SPAN;
    page.item(BITS).get(bit as usize / 8).is_some_and(|byte| byte >> (bit % 8) & 1 != 0)
}

/// The data of a record's reference to a map.
pub fn encode_blocks(blocks: &[BlockNumber]) -> Vec<u8> {
    blocks.iter().flat_map(|block| block.get().to_le_bytes()).collect()
}

/// Gives or takes the blocks that `data` names.
///
/// # Errors
/// Fails if the page is no map, or a block is freed or taken twice.
pub fn apply(page: &mut Page, data: &[u8], free: bool) -> Result<(), ApplyError> {
    if page.kind() != Some(PageKind::Meta) || page.item_count() <= BITS {
        return Err(BadChange("a page is given to or taken from a page that is no map").into());
    }
    let mut bits = page.item(BITS).to_vec();
    let mut fields = Fields::new(data);
    for _ in 0..data.len() / 4 {
        let bit = fields.u32()? % SPAN;
        let at = bit as usize / 8;
        if bits.len() <= at {
            bits.resize((at + 1).next_multiple_of(STEP).min(BYTES), 0);
        }
        let Some(byte) = bits.get_mut(at) else { return Err(BadChange("a map is too short").into()) };
        let mask = 1 << (bit % 8);
        if (*byte & mask != 0) == free {
            return Err(BadChange("a page is freed twice or taken twice").into());
        }
        *byte ^= mask;
    }
    store(page, bits)
}

/// Forgets the blocks from `pages` on.
///
/// # Errors
/// Fails if the page is no map.
pub fn trim(page: &mut Page, pages: u32) -> Result<(), ApplyError> {
    let mut bits = page.item(BITS).to_vec();
    let first = pages % SPAN;
    for (byte, at) in bits.iter_mut().zip((0_u32..).step_by(8)) {
        let keep = first.saturating_sub(at).min(8);
        *byte &= ((1_u16 << keep) - 1) as u8;
    }
    store(page, bits)
}

fn store(page: &mut Page, mut bits: Vec<u8>) -> Result<(), ApplyError> {
    let used = bits.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bits.truncate(used.next_multiple_of(STEP));
    Ok(page.replace_item(BITS, &bits)?)
}
