//! Every single-bit flip in the small files beside the log: what finds it, and what is left because nothing
//! can.
//!
//! Each test counts where the flips of one file end, prints the counts, and holds them to exact numbers. The
//! second half of each is its control: the same flips shown to a reader that lacks the check, which the same
//! count has to catch.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use host::{Disk, write_file_durably};
use simulation::VirtualDisk;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wal::control::{CONTROL_DATA_SIZE, ControlError, ControlFile, control_file_path};
use wal::history::{BranchId, HistoryError, HistoryFileError, TimelineHistory};
use wal::{Lsn, TimelineId};

/// How many flips ended in each way.
type Counts = BTreeMap<&'static str, u32>;

/// Flips each bit of the first `len` bytes of a file, one at a time, and counts what `classify` says of each.
fn flip_each(
    disk: &VirtualDisk,
    path: &Path,
    len: usize,
    mut classify: impl FnMut(usize) -> &'static str,
) -> Counts {
    let mut counts = Counts::new();
    for bit in 0..len * 8 {
        let flip = || assert!(disk.flip_bit(path, (bit / 8) as u64, (bit % 8) as u8).unwrap());
        flip();
        *counts.entry(classify(bit / 8)).or_default() += 1;
        flip();
    }
    println!("{}: {} flips, {counts:?}", path.display(), len * 8);
    counts
}

/// The control file of a real PostgreSQL 15 (golden/make.sh), on a disk.
fn control_file() -> (VirtualDisk, PathBuf, Vec<u8>) {
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pg_control")).unwrap();
    let (disk, path) = (VirtualDisk::new(), control_file_path(Path::new("/data")));
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    write_file_durably(&disk, &path, &bytes).unwrap();
    (disk, path, bytes)
}

#[test]
fn every_flip_in_the_control_file_is_refused_by_name_but_for_the_padding_behind_its_checksum() {
    let (disk, path, bytes) = control_file();
    let whole = ControlFile::decode(&bytes).unwrap();
    let counts = flip_each(&disk, &path, CONTROL_DATA_SIZE, |byte| {
        match ControlFile::load(&disk, Path::new("/data")) {
            Err(error) => {
                let text = error.to_string();
                for part in [path.to_str().unwrap(), "expected", "found"] {
                    // The one error that is about a single number says it without the word: "has version
                    // 1301, expected 1300".
                    assert!(
                        text.contains(part) || (part == "found" && text.contains("has version")),
                        "byte {byte}: {text}"
                    );
                }
                match error {
                    ControlError::Unusable { error, .. } => match *error {
                        ControlError::Crc { .. } => "checksum",
                        ControlError::Version { .. } => "version",
                        other => panic!("byte {byte}: {other}"),
                    },
                    other => panic!("byte {byte}: {other}"),
                }
            }
            Ok(read) if read == whole && byte >= 292 => "padding",
            Ok(_) => "unnoticed",
        }
    });
    assert_eq!(counts, Counts::from([("checksum", 288 * 8), ("version", 32), ("padding", 32)]));
}

#[test]
fn a_reader_of_the_control_file_that_checks_no_sum_is_caught() {
    let (_, _, bytes) = control_file();
    let whole = ControlFile::decode(&bytes).unwrap();
    let mut unnoticed = 0;
    for bit in 0..288 * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // A sum that fits is what such a reader takes any for.
        let sum = wal::crc::crc32c(&flipped[..288]);
        flipped[288..292].copy_from_slice(&sum.to_le_bytes());
        unnoticed += u32::from(ControlFile::decode(&flipped).is_ok_and(|read| read != whole));
    }
    println!("without its checksum {unnoticed} flips would pass");
    assert!(unnoticed > 1000, "{unnoticed}");
}

/// A history of two promotions, as this engine writes it.
fn history() -> TimelineHistory {
    let lsn = |text: &str| text.parse::<Lsn>().unwrap();
    TimelineHistory::root(TimelineId::FIRST)
        .fork(TimelineId::new(2), lsn("0/3000148"), "no recovery target specified", BranchId::new(0xA1))
        .and_then(|second| {
            second.fork(TimelineId::new(3), lsn("0/5000110"), "before 2000-01-01", BranchId::new(0xB2C3))
        })
        .unwrap()
}

/// A history file on a disk, and what its flips end as.
fn flip_history(text: &str) -> Counts {
    let (disk, folder) = (VirtualDisk::new(), Path::new("/pg_wal"));
    disk.create_dir_all(folder).unwrap();
    let path = folder.join("00000003.history");
    write_file_durably(&disk, &path, text.as_bytes()).unwrap();
    let load = || TimelineHistory::load(&disk, folder, TimelineId::new(3));
    let whole = load().unwrap();
    flip_each(&disk, &path, text.len(), |byte| match load() {
        Err(HistoryFileError::Invalid { path, error }) => {
            assert!(path.ends_with("00000003.history"), "{path}");
            match error {
                HistoryError::Crc { .. } => "checksum",
                HistoryError::Syntax { .. } => "no entry",
                HistoryError::Order { .. } => "order",
                other @ HistoryError::NotAnAncestor { .. } => panic!("byte {byte}: {other}"),
            }
        }
        Err(other) => panic!("byte {byte}: {other}"),
        Ok(read) if read == whole => "unnoticed, the same",
        Ok(read) => {
            let positions = |history: &TimelineHistory| -> Vec<(TimelineId, Lsn)> {
                history.entries().iter().map(|entry| (entry.timeline, entry.end)).collect()
            };
            if positions(&read) == positions(&whole) { "free text" } else { "unnoticed" }
        }
    })
}

#[test]
fn every_flip_in_a_history_file_of_this_engine_is_refused() {
    let counts = flip_history(history().text());
    assert_eq!(counts, Counts::from([("checksum", 564), ("no entry", 761), ("order", 11)]));
}

#[test]
fn a_history_file_without_a_checksum_as_postgresql_writes_it_lets_flips_pass_and_the_count_catches_them() {
    let plain: String = history()
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let counts = flip_history(&plain);
    // Its format has no sum: digits that stay digits, and the reasons, are nobody's to check.
    assert_eq!(
        counts,
        Counts::from([("free text", 347), ("no entry", 145), ("order", 16), ("unnoticed", 60)])
    );
}
