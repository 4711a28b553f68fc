use super::*;
use wal::Xid;

#[test]
fn a_sealed_page_is_one_that_comes_back_from_its_own_place_only() {
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
}

/// A page of each kind with something on it, one full leaf, and the page that was never used.
fn one_of_each_kind() -> Vec<(&'static str, Box<Page>)> {
    let head = leaf::ItemHead { xid: Xid::new(7), cid: 0, flags: 0 }.encode(3);
    let made = |kind, items: &[&[&[u8]]]| {
        let mut page = Page::boxed();
        page.init(kind, u16::from(kind == PageKind::Inner), BlockNumber::new(9));
        page.set_lsn(Lsn::new(0x1234_5678_9ABC));
        for (index, parts) in items.iter().enumerate() {
            page.insert_item(index, parts).unwrap();
        }
        page
    };
    let mut full = made(PageKind::Leaf, &[&[]]);
    let (mut number, mut random) = (0_u32, fastrand::Rng::with_seed(5));
    while full.free_space() > 200 {
        let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(40).collect();
        let key = format!("{number:03}");
        full.insert_item(FIRST + number as usize, &[&head, key.as_bytes(), &value]).unwrap();
        number += 1;
    }
    vec![
        ("meta", made(PageKind::Meta, &[&[&[1; 40]]])),
        ("inner", made(PageKind::Inner, &[&[b"zz"], &[&[5, 0, 0, 0]], &[&[6, 0, 0, 0], b"m"]])),
        ("leaf", made(PageKind::Leaf, &[&[], &[&head, b"key", b"value"]])),
        ("full leaf", full),
        ("overflow", made(PageKind::Overflow, &[&[&head, b"key", b"older"]])),
        ("large", made(PageKind::Large, &[&[&[0xA5; 8000]]])),
        ("free", made(PageKind::Free, &[])),
        ("state", made(PageKind::State, &[&[&[3; 100]]])),
        ("new", Page::boxed()),
    ]
}

/// How the flips of a page ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flips {
    checksum: u32,
    crc: u32,
    layout: u32,
    harmless: u32,
    unnoticed: u32,
}

/// Flips each bit of a page as it lies on disk.
fn flip_each(plain: &Page, checksums: bool, unseal: impl Fn(&mut Page) -> Result<(), PageFault>) -> Flips {
    let mut sealed = plain.clone();
    if !plain.is_new() {
        sealed.seal(BlockNumber::new(5), checksums);
    }
    let mut flips = Flips::default();
    let mut read = Page::boxed();
    for bit in 0..PAGE_SIZE * 8 {
        read.0.copy_from_slice(&sealed.0);
        read.0[bit / 8] ^= 1 << (bit % 8);
        let class = match unseal(&mut read) {
            Err(PageFault::Checksum { .. }) => &mut flips.checksum,
            Err(PageFault::Crc { .. }) => &mut flips.crc,
            Err(PageFault::Layout(_)) => &mut flips.layout,
            Ok(()) if read.0 == plain.0 => &mut flips.harmless,
            Ok(()) => &mut flips.unnoticed,
        };
        *class += 1;
    }
    flips
}

#[test]
fn every_flip_of_a_page_of_each_kind_is_found_by_one_of_its_two_sums() {
    let mut total = Flips::default();
    for (name, page) in one_of_each_kind() {
        let flips = flip_each(&page, true, |read| read.unseal(BlockNumber::new(5), true));
        println!("{name}: {flips:?}");
        assert_eq!(flips.checksum + flips.crc, 65536, "{name}: {flips:?}");
        total.checksum += flips.checksum;
        total.crc += flips.crc;
    }
    println!("with checksums: {total:?}");
    // What the 16 bits of PostgreSQL's sum miss, the CRC finds.
    assert_eq!(total, Flips { checksum: 589_817, crc: 7, ..Flips::default() });
}

#[test]
fn without_checksums_only_the_unused_checksum_field_is_harmless() {
    for (name, page) in one_of_each_kind() {
        let flips = flip_each(&page, false, |read| read.unseal(BlockNumber::new(5), false));
        // The field means nothing then; on a page that was never used a bit there makes it no page of ours.
        let harmless = if page.is_new() { 0 } else { 16 };
        let expected = Flips { crc: 65536 - harmless, harmless, ..Flips::default() };
        assert_eq!(flips, expected, "{name}");
    }
}

#[test]
fn the_sixteen_bits_of_postgresql_alone_let_flips_pass() {
    let mut passed = 0;
    for (_, page) in one_of_each_kind() {
        let flips = flip_each(&page, true, |read| {
            let stored = read.u16_at(CHECKSUM_AT);
            read.put_u16(CHECKSUM_AT, 0);
            let calculated = checksum::page_checksum(&read.0, BlockNumber::new(5));
            if calculated == stored { Ok(()) } else { Err(PageFault::Checksum { calculated, stored }) }
        });
        passed += flips.harmless + flips.unnoticed;
    }
    println!("{passed} flips pass PostgreSQL's checksum");
    assert_eq!(passed, 7, "the control found nothing");
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
fn a_search_finds_the_first_key_that_is_not_below_however_keys_lie() {
    let mut random = fastrand::Rng::with_seed(23);
    for round in 0..600 {
        let spread = [2, 40, 1 << 20, u64::MAX >> 1][round % 4];
        let key = |random: &mut fastrand::Rng| -> Vec<u8> {
            let number = random.u64(0..spread).to_be_bytes();
            // Of several lengths, even and crowded at one end, alike in more than what is compared at first.
            match round % 5 {
                0 | 3 => number[random.usize(0..8)..].to_vec(),
                1 => [&[7; 11], &number[random.usize(0..8)..]].concat(),
                _ => number.to_vec(),
            }
        };
        let mut keys: Vec<Vec<u8>> = (0..random.usize(0..60)).map(|_| key(&mut random)).collect();
        keys.sort();
        let level = (round % 2) as u16;
        if let (1, Some(first)) = (level, keys.first_mut()) {
            first.clear();
        }
        let mut page = Page::boxed();
        page.init_tree_page(level, BlockNumber::INVALID, b"").unwrap();
        for (index, key) in keys.iter().enumerate() {
            let head = leaf::ItemHead { xid: Xid::new(3), cid: 0, flags: 0 }.encode(key.len() as u16);
            let parts: [&[u8]; 2] = if level == 0 { [&head, key] } else { [&[1, 0, 0, 0], key] };
            page.insert_item(FIRST + index, &parts).unwrap();
        }
        for wanted in keys.clone().into_iter().chain((0..60).map(|_| key(&mut random))) {
            let found = page.lower_bound(&wanted);
            assert_eq!(found, FIRST + keys.partition_point(|key| *key < wanted), "{wanted:?} in {keys:?}");
        }
    }
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
