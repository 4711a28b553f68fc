//! Every single-bit flip of a backup_label, judged by what the start makes of it.
//!
//! PostgreSQL's format has no checksum there. What a start depends on is said twice or looked up: the start
//! position against the checkpoint record's redo point and the segment's name, the checkpoint's position by
//! the record that lies there, the timeline against the segment's name, method and source by their words.

use super::standby::{backup, follow_latest};
use super::*;
use host::Disk;
use std::collections::BTreeMap;
use wal::TimelineId;
use wal::backup_label::BackupLabel;
use wal::control::ControlFile;
use wal::history::{BranchId, TimelineHistory};

fn label_path() -> std::path::PathBuf {
    Path::new(DIR).join("backup_label")
}

/// The name of the line that the byte at `at` belongs to.
fn line_of(label: &str, at: usize) -> &str {
    let number = label[..at].matches('\n').count();
    label.lines().nth(number).and_then(|line| line.split(':').next()).unwrap()
}

fn parse(text: &[u8]) -> Result<BackupLabel, String> {
    let size = SegmentSize::new(1 << 20).unwrap();
    BackupLabel::parse(&String::from_utf8_lossy(text), size).map_err(|error| error.to_string())
}

/// What each flip of the label leads to, by class. `start` says whether the row of before the backup is
/// there.
async fn flip_each(
    start: impl AsyncFn(&VirtualDisk, TreeId) -> Result<bool, String>,
) -> BTreeMap<&'static str, u32> {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    let copy = backup(&disk, &db, async {}).await;
    let text = copy.read(&label_path(), 1 << 16).unwrap();
    let (label, whole) = (String::from_utf8(text.clone()).unwrap(), parse(&text).unwrap());
    let mut counts = BTreeMap::new();
    for bit in 0..text.len() * 8 {
        let (byte, image) = (bit / 8, copy.fork());
        assert!(image.flip_bit(&label_path(), byte as u64, (bit % 8) as u8).unwrap());
        let read = parse(&image.read(&label_path(), 1 << 16).unwrap());
        let what = || format!("bit {} of byte {byte}: {read:?}", bit % 8);
        let class = match (start(&image, tree).await, line_of(&label, byte)) {
            (Err(error), _) => {
                assert!(error.contains("backup_label"), "{}: {error}", what());
                "refused"
            }
            (Ok(false), _) => "unnoticed",
            (Ok(true), "START TIME" | "LABEL") => "free text",
            // Its name is lost, and the line with it, which only repeats what the segment's name says.
            (Ok(true), "START TIMELINE") => "said twice",
            (Ok(true), _) => {
                assert_eq!(read.as_ref(), Ok(&whole), "{}", what());
                "same value"
            }
        };
        *counts.entry(class).or_default() += 1;
    }
    println!("{label}{} flips, {counts:?}", text.len() * 8);
    counts
}

#[tokio::test]
async fn every_flip_of_a_backup_label_is_refused_or_in_text_that_is_for_people() {
    let counts = flip_each(async |image, tree| match try_open(image, options()) {
        Err(error) => Err(error.to_string()),
        Ok((db, report)) => Ok(report.from_backup && read(&db, tree, "a").await.as_deref() == Some("1")),
    })
    .await;
    // The same value: a capital digit turned small, a blank turned into a leading zero.
    let expected = [("refused", 1107), ("free text", 384), ("said twice", 122), ("same value", 3)];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[tokio::test]
async fn a_start_that_believes_the_label_without_looking_at_the_log_is_caught() {
    let counts = flip_each(async |image, _| {
        let label = parse(&image.read(&label_path(), 1 << 16).unwrap())?;
        let control = ControlFile::load(image, Path::new(DIR)).unwrap();
        Ok(label.checkpoint == control.checkpoint && label.start == control.checkpoint_copy.redo)
    })
    .await;
    assert!(counts["unnoticed"] > 20, "{counts:?}");
}

#[tokio::test]
async fn a_standby_refuses_a_damaged_newer_history_rather_than_stay_on_its_timeline_unsaid() {
    let (disk, db, _) = with_tree().await;
    let copy = backup(&disk, &db, async {}).await;
    let wal_dir = Path::new(DIR).join("pg_wal");
    let at = db.positions().unwrap().flushed();
    let newer = TimelineHistory::root(TimelineId::FIRST)
        .fork(TimelineId::new(2), at + 1000, "promoted", BranchId::new(1))
        .unwrap();
    newer.store(&copy, &wal_dir).unwrap();
    let mode = follow_latest(&copy).unwrap();
    assert_eq!(mode, StartMode::Standby { timeline: TimelineId::new(2) });
    assert!(Database::open(&host_on(&copy.fork()), options(), mode).is_ok());
    let path = wal_dir.join("00000002.history");
    assert!(copy.flip_bit(&path, 3, 0).unwrap());
    let chosen = follow_latest(&copy).unwrap_err().to_string();
    let opened = Database::open(&host_on(&copy), options(), mode).map(|_| ()).unwrap_err().to_string();
    for error in [chosen, opened] {
        assert!(error.contains("00000002.history") && error.contains("line"), "{error}");
    }
}
