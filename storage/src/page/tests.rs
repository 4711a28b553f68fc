use super::*;

#[test]
fn a_sealed_page_is_one_that_postgresql_accepts_and_every_flip_is_found() {
    let mut page = Page::boxed();
    page.init(PageKind::Leaf, 0, BlockNumber::INVALID);
    page.insert_item(0, &[]).unwrap();
    let head = leaf::ItemHead { xid: Xid::new(7), cid: 0, flags: 0 }.encode(3);
    page.insert_item(1, &[&head, b"key", b"value"]).unwrap();
    let plain = page.clone();
    page.seal(BlockNumber::new(5), true);
    let mut read = page.clone();
    read.unseal(BlockNumber::new(5), true).unwrap();
    assert_eq!(read, plain, "sums are clear in memory");
    assert!(page.clone().unseal(BlockNumber::new(6), true).is_err(), "a page at another place is found");
    for byte in (0..PAGE_SIZE).step_by(7) {
        for bit in 0..8 {
            let mut flipped = page.clone();
            flipped.0[byte] ^= 1 << bit;
            assert!(flipped.unseal(BlockNumber::new(5), true).is_err(), "bit {bit} of byte {byte}");
        }
    }
}

#[test]
fn items_are_found_packed_and_removed_without_leaving_bytes_behind() {
    let mut page = Page::boxed();
    page.init_tree_page(0, BlockNumber::INVALID, b"").unwrap();
    for (index, key) in [b"b", b"d", b"f"].iter().enumerate() {
        let head = leaf::ItemHead { xid: Xid::new(3), cid: 0, flags: 0 }.encode(1);
        page.insert_item(FIRST + index, &[&head, &key[..], b"v"]).unwrap();
    }
    let found: Vec<usize> =
        [b"a", b"b", b"c", b"f", b"g"].iter().map(|key| page.lower_bound(&key[..])).collect();
    assert_eq!(found, [1, 1, 2, 3, 4]);
    let full = page.free_space();
    page.repack(|index, _| index != 2);
    assert_eq!(page.free_space(), full + 18 + POINTER_SIZE);
    assert_eq!((page.key(1), page.key(2)), (&b"b"[..], &b"f"[..]));
    assert!(page.bytes()[page.lower()..page.upper()].iter().all(|byte| *byte == 0));
    page.check_layout().unwrap();
}

#[test]
fn a_page_that_is_full_says_so_and_stays_as_it_was() {
    let mut page = Page::boxed();
    page.init_tree_page(1, BlockNumber::INVALID, b"").unwrap();
    let key = [1; 1000];
    while page.free_space() >= 1004 + POINTER_SIZE {
        page.insert_item(FIRST, &[&[0; 4], &key]).unwrap();
    }
    let before = page.clone();
    assert!(page.insert_item(FIRST, &[&[0; 4], &key]).is_err());
    assert_eq!(page, before);
    page.check_layout().unwrap();
}

use wal::Xid;
