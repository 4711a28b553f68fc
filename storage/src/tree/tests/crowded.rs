//! Leaves that the versions of one key fill, and other keys that come to them.

use super::Run;
use crate::changes::store::NewVersion;
use crate::pages::page::leaf::{ITEM_HEADER, MAX_ITEM, MAX_KEY};
use crate::pages::page::{POINTER_SIZE, USABLE_SIZE};
use crate::tree::{KeyLocks, Prepared};
use crate::{Direction, KeyRange};
use wal::Xid;

/// Nobody has anything locked.
struct Unlocked;

impl KeyLocks for Unlocked {
    fn are_all_free(&self) -> bool {
        true
    }
    fn is_free(&self, _key: &[u8]) -> bool {
        true
    }
}

impl Run {
    /// New rows by rising keys, as batches bring them. What is no new key is written as a single row.
    fn write_new(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) {
        let items: Vec<_> = rows.iter().map(|(key, value)| (&key[..], Some(&value[..]))).collect();
        let (mut done, mut prepared) = (0, Prepared::new());
        let mut writer = self.bench.store.writer();
        writer.allow_io(true);
        writer.set_xid(Xid::new(self.xid));
        writer.set_horizon(Xid::new(self.horizon));
        while let Some((key, value)) = items.get(done) {
            let locks = Some(&Unlocked);
            match writer.insert_new(&self.tree, &mut prepared, 0, &items[done..], locks).unwrap() {
                0 => {
                    let version = NewVersion { cid: 0, value: *value };
                    writer.insert_version(&self.tree, &mut prepared, key, version).unwrap();
                    done += 1;
                }
                count => done += count,
            }
        }
        drop(writer);
        for (key, value) in rows {
            self.model.entry(key.clone()).or_default().insert(0, (self.xid, Some(value.clone())));
        }
        self.xid += 1;
    }

    fn check_tree(&self, place: &str) {
        assert_eq!(self.tree.verify().unwrap().lost_pages, [], "{place}");
        for snapshot in [self.horizon, self.horizon.midpoint(self.xid), self.xid] {
            for direction in [Direction::Forward, Direction::Backward] {
                self.check_scan(KeyRange::all(), direction, snapshot, 50);
            }
        }
    }
}

/// A key of `length` bytes, or as few more as its number takes, that differs from the others at its end or at
/// its beginning.
fn key_of(number: u16, length: usize, at_end: bool) -> Vec<u8> {
    let fill = std::iter::repeat_n(b'k', length.saturating_sub(2));
    let number = number.to_be_bytes();
    if at_end { fill.chain(number).collect() } else { number.into_iter().chain(fill).collect() }
}

/// A tree with some rows, or none, and one row with so many versions. Then keys come on both sides of that,
/// far and near.
fn beside(run: &mut Run, others: u16, count: usize, key: impl Fn(u16) -> Vec<u8>, width: usize) {
    for number in (0..others).map(|number| if number < 3 { 10 * number } else { 200 + number }) {
        run.write(&key(number), Some(&vec![1; width / 2]));
    }
    for _ in 0..count {
        run.write(&key(150), Some(&vec![2; width]));
    }
    let place = format!("{others} others, {count} versions, {} + {width} bytes", key(0).len());
    for number in [160, 152, 140, 148] {
        run.write(&key(number), Some(&vec![3; width]));
        run.check_tree(&place);
    }
    run.check_redo();
}

#[test]
fn a_leaf_full_of_one_keys_versions_takes_a_key_beside_it_whatever_room_is_left() {
    for length in [2, 4, 40, 300, 358, 800, 1200, 1850, MAX_KEY] {
        for width in [0, 1, 3, 7, 90, 358, 700, 1300, 1980] {
            let width = width.min(MAX_ITEM - ITEM_HEADER - length);
            // So many that the leaf is nearly full, just full, and has a chain.
            let full = USABLE_SIZE / (ITEM_HEADER + POINTER_SIZE + length + width);
            for count in [full.saturating_sub(1), full, full + 1, full * 3 / 2 + 2] {
                for (others, at_end) in [(0, true), (0, false), (40, true)] {
                    let mut run = Run::new(128, 1);
                    beside(&mut run, others, count, |number| key_of(number, length, at_end), width);
                }
            }
        }
    }
}

#[test]
fn keys_come_beside_rows_with_many_versions_whatever_their_lengths_and_the_snapshots_that_are_held() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut run = Run::new(128, seed);
        let mut random = run.random.clone();
        let lengths = [2, 4, 30, 358, 800, 1200, 1850, MAX_KEY];
        let longest = lengths[random.usize(..lengths.len())];
        let (keys, at_end) = (random.u16(2..40), random.bool());
        let widest = [0, 4, 100, 358, 1300, 4000][random.usize(..6)];
        for step in 0..160 {
            let any = |random: &mut fastrand::Rng| {
                let length = if random.u8(..4) == 0 { random.usize(2..=longest) } else { longest };
                key_of(random.u16(..keys) * 7, length, at_end)
            };
            let value = |random: &mut fastrand::Rng| vec![random.u8(..); random.usize(..=widest)];
            match random.u8(..10) {
                // The same row again and again.
                0..4 => {
                    let key = any(&mut random);
                    for _ in 0..random.u8(1..12) {
                        let value = (random.u8(..12) > 0).then(|| value(&mut random));
                        run.write(&key, value.as_deref());
                    }
                }
                4..7 => run.write(&any(&mut random), Some(&value(&mut random))),
                7 => {
                    let rows = (0..random.usize(1..12)).map(|_| (any(&mut random), Some(value(&mut random))));
                    let rows = rows.collect();
                    run.write_many(&rows);
                }
                _ => {
                    let rows = (0..random.usize(1..12)).map(|_| (any(&mut random), value(&mut random)));
                    let rows: std::collections::BTreeMap<_, _> = rows.collect();
                    run.write_new(&rows.into_iter().collect::<Vec<_>>());
                }
            }
            if random.u8(..25) == 0 {
                run.horizon = random.u64(run.horizon..=run.xid);
            }
            if random.u8(..40) == 0 {
                run.bench.log.set_redo_here();
            }
            if random.u8(..50) == 0 {
                run.sweep(&[]);
            }
            run.check_tree(&format!("seed {seed}, step {step}"));
        }
        run.check_all();
    }
}
