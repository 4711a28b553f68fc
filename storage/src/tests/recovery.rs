//! Where the log ends, and what of it is damage.

use super::standby::backup;
use super::*;
use crate::BeforeCutFn;
use host::sync::Mutex;
use host::{Disk, OpenMode};
use std::io;
use std::sync::atomic::AtomicBool;
use wal::reader::CutTail;
use wal::{ArchiveStatus, Archived, Lsn, SegmentNumber, TimelineId};

const SIZE: u64 = 1 << 20;

fn path_of(at: Lsn) -> String {
    let size = SegmentSize::new(1 << 20).unwrap();
    format!("{DIR}/pg_wal/{}", size.segment_of(at).file_name(TimelineId::FIRST, size))
}

/// Nothing but the log itself says how far that was durable.
pub(super) fn forget_own_flush(disk: &VirtualDisk) {
    disk.remove_file(&Path::new(DIR).join(wal::FLUSHED_FILE)).unwrap();
}

/// Three commits, each flushed; the places where each began, and where the last ended.
async fn three_commits() -> (VirtualDisk, Vec<Lsn>) {
    let (disk, db, tree) = with_tree().await;
    let mut ends = vec![db.positions().unwrap().inserted()];
    for key in ["a", "b", "c"] {
        write(&db, tree, &[(key, "1")], SyncLevel::Local).await;
        ends.push(db.positions().unwrap().inserted());
    }
    drop(db);
    forget_own_flush(&disk);
    (disk, ends)
}

/// Options that keep what is told before a cut, or refuse it.
fn noting(cuts: &Arc<Mutex<Vec<CutTail>>>, refuse: bool) -> DatabaseOptions {
    let cuts = Arc::clone(cuts);
    let before_cut: BeforeCutFn = Arc::new(move |cut, _| {
        cuts.lock().push(*cut);
        if refuse { Err(io::Error::other("the ledger is full")) } else { Ok(()) }
    });
    DatabaseOptions { before_cut: Some(before_cut), ..options() }
}

#[tokio::test]
async fn damage_below_what_a_later_commit_knew_to_be_durable_stops_the_start_and_names_the_place() {
    let (disk, ends) = three_commits().await;
    let bad = ends[1] + 40;
    assert!(disk.flip_bit(Path::new(&path_of(bad)), bad.get() % SIZE, 3).unwrap());
    let error = try_open(&disk, options()).unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "XX001");
    let text = error.to_string();
    for part in [&path_of(bad), "at offset", "expected", "found", &format!("flushed up to {}", ends[2])] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    // Nothing was cut: mended, it starts and has all.
    assert!(disk.flip_bit(Path::new(&path_of(bad)), bad.get() % SIZE, 3).unwrap());
    assert_eq!(try_open(&disk, options()).unwrap().1.to, ends[3]);
}

#[tokio::test]
async fn what_is_cut_is_recorded_before_it_is_wiped_and_nothing_is_cut_without_the_record() {
    let (disk, ends) = three_commits().await;
    // Nobody behind it knew of the last commit.
    let bad = ends[2] + 40;
    assert!(disk.flip_bit(Path::new(&path_of(bad)), bad.get() % SIZE, 3).unwrap());
    let cuts = Arc::default();
    let error = try_open(&disk, noting(&cuts, true)).unwrap_err();
    assert!(error.to_string().contains("the ledger is full"), "{error}");
    let (_, report) = try_open(&disk, noting(&cuts, false)).unwrap();
    let cut = cuts.lock().clone();
    assert_eq!(cut.len(), 2);
    assert_eq!(cut[0], cut[1], "the refused start had left the tail");
    assert_eq!(cut[1].from, ends[2]);
    assert!(cut[1].upto > ends[3] - 8 && cut[1].upto <= ends[3], "{cut:?}");
    assert_eq!((report.to, report.cut_bytes), (ends[2], cut[1].bytes()));
    // The next start has nothing to cut.
    let image = power_cut(&disk);
    let (_, report) = try_open(&image, noting(&cuts, false)).unwrap();
    assert_eq!((report.cut_bytes, cuts.lock().len()), (0, 2));
}

#[tokio::test]
async fn damage_in_the_last_commit_stops_the_start_if_a_page_on_disk_or_a_slot_says_that_it_was_durable() {
    let (disk, db, tree) = with_tree().await;
    let mut ends = Vec::new();
    for key in ["a", "b", "c"] {
        ends.push(db.positions().unwrap().inserted());
        write(&db, tree, &[(key, "1")], SyncLevel::Local).await;
    }
    let (begun, upto) = (ends[2], db.positions().unwrap().inserted());
    let unwritten = disk.fork();
    db.0.store.flush_before(Lsn::MAX, &mut |_| {}).unwrap();
    drop(db);
    for image in [&disk, &unwritten] {
        forget_own_flush(image);
        assert!(image.flip_bit(Path::new(&path_of(begun)), (begun.get() + 40) % SIZE, 3).unwrap());
    }
    let error = try_open(&disk, options()).unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "XX001", "{error}");

    // Without the page it is the word of a slot that counts.
    let told = |proven_flush| DatabaseOptions { proven_flush, ..options() };
    let error = try_open(&unwritten.fork(), told(upto)).unwrap_err();
    assert!(error.to_string().contains(&format!("flushed up to {upto}")), "{error}");
    assert_eq!(try_open(&unwritten, told(begun)).unwrap().1.to, begun, "a torn tail");
}

/// Segments of the log are gone or hold nothing, and no page tells of it: the server's own file does.
#[tokio::test]
async fn a_primary_whose_log_was_durable_further_than_it_goes_does_not_start() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    db.wal().unwrap().switch_segment().unwrap();
    let begin = db.positions().unwrap().inserted();
    write(&db, tree, &[("b", "2")], SyncLevel::Local).await;
    let upto = db.positions().unwrap().flushed();
    drop(db);
    let path = path_of(begin);
    for is_gone in [true, false] {
        let image = disk.fork();
        if is_gone {
            image.remove_file(Path::new(&path)).unwrap();
        } else {
            let file = image.open(Path::new(&path), OpenMode::ReadWrite).unwrap();
            file.write_all_at(&vec![0; SIZE as usize], 0).unwrap();
        }
        // What was durable is so whatever is made durable from now on.
        let unsynced = crate::LogWriting { fsync: false, ..options().log_writing };
        for options in [options(), DatabaseOptions { log_writing: unsynced, ..options() }] {
            let error = try_open(&image, options).unwrap_err();
            let told = error.to_string();
            assert!(told.contains(&format!("flushed up to {upto}")), "{told}");
            assert_eq!(error.sqlstate().as_str(), "XX001");
        }
        // Nobody else can tell.
        forget_own_flush(&image);
        assert!(try_open(&image, options()).unwrap().1.to < upto);
    }
    // Whole, it starts, and what it then writes is told again.
    let db = open(&disk.fork());
    assert_eq!(read(&db, tree, "b").await.as_deref(), Some("2"));
}

/// A copy of the whole directory may have the file of a server that went on meanwhile.
#[tokio::test]
async fn a_copy_whose_first_recovery_was_killed_starts_however_far_its_source_wrote_meanwhile() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    let copy = backup(&disk, &db, async {}).await;
    write(&db, tree, &[("b", "2")], SyncLevel::Local).await;
    let path = Path::new(DIR).join(wal::FLUSHED_FILE);
    let later = disk.read(&path, 1 << 10).unwrap();
    copy.create_dir_all(path.parent().unwrap()).unwrap();
    host::write_file_durably(&copy, &path, &later).unwrap();
    let copy = copy.crash(CrashPolicy::KeepAll);
    for call in 1.. {
        let killed = copy.fork();
        killed.inject(simulation::Fault::power_off(call));
        let is_done = try_open(&killed, options()).is_ok();
        for left in [killed.fork(), killed.crash(CrashPolicy::LoseUnsynced)] {
            let (db, _) = try_open(&left, options()).unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!(read(&db, tree, "a").await.as_deref(), Some("1"), "call {call}");
        }
        if is_done {
            break;
        }
    }
}

/// Opens a log that is lost from a record's end on, once with and once without a page on disk that has more.
async fn open_what_is_lost_from_a_records_end_on(full_page_writes: bool) {
    let options = || DatabaseOptions { full_page_writes, ..options() };
    let (disk, db, tree) = with_tree().await;
    drop(db);
    let (db, _) = try_open(&disk, options()).unwrap();
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
    write(&db, tree, &[("a", "2")], SyncLevel::Local).await;
    let end = db.positions().unwrap().flushed();
    write(&db, tree, &[("a", "3")], SyncLevel::Local).await;
    let unwritten = power_cut(&disk);
    db.0.store.flush_before(Lsn::MAX, &mut |_| {}).unwrap();
    for (image, written) in [(unwritten, false), (power_cut(&disk), true)] {
        let file = image.open(Path::new(&path_of(end)), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&vec![0; (SIZE - end.get() % SIZE) as usize], end.get() % SIZE).unwrap();
        file.sync().unwrap();
        match try_open(&image, options()) {
            Ok((_, report)) => assert_eq!((written, report.to, report.cut_bytes), (false, end, 0)),
            Err(error) => {
                let (text, code) = (error.to_string(), error.sqlstate());
                assert!(written && code.as_str() == "XX001" && text.contains("flushed up to"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_is_lost_from_a_records_end_on_stops_the_start_if_redo_reads_a_page_that_has_more() {
    open_what_is_lost_from_a_records_end_on(false).await;
}

#[tokio::test]
async fn the_same_if_redo_makes_that_page_anew_from_an_image() {
    open_what_is_lost_from_a_records_end_on(true).await;
}

/// Redo makes more pages from images than a start looks at where its log ends like one that was not written
/// further. One of them is newer than the log, whose next segment has lost its begin.
#[tokio::test]
async fn where_the_log_ends_in_bytes_that_nobody_wrote_all_pages_are_asked() {
    let keys: Vec<String> = (0..480).map(|key| format!("key {key:03}")).collect();
    let (old, new) = ("x".repeat(900), "y".repeat(900));
    for last in keys.iter().step_by(53) {
        let (disk, db, tree) = with_tree().await;
        let rows: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), old.as_str())).collect();
        write(&db, tree, &rows, SyncLevel::Local).await;
        db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
        let some: Vec<(&str, &str)> =
            keys.iter().step_by(4).map(|key| (key.as_str(), new.as_str())).collect();
        write(&db, tree, &some, SyncLevel::Local).await;
        db.wal().unwrap().switch_segment().unwrap();
        write(&db, tree, &[(last, &new)], SyncLevel::Local).await;
        let begin = Lsn::new(db.positions().unwrap().flushed().get() / SIZE * SIZE);
        db.0.store.flush_before(Lsn::MAX, &mut |_| {}).unwrap();
        let image = power_cut(&disk);
        let file = image.open(Path::new(&path_of(begin)), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&vec![0; SIZE as usize], 0).unwrap();
        file.write_all_at(&[0xA5; 64], 0).unwrap();
        file.sync().unwrap();
        let error = try_open(&image, options()).err().unwrap_or_else(|| panic!("{last}: it starts"));
        assert!(error.to_string().contains("flushed up to"), "{last}: {error}");
    }
}

#[tokio::test]
async fn a_segment_that_is_written_on_is_marked_no_longer() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    let size = db.wal().unwrap().segment_size();
    db.shutdown().await.unwrap();
    // It came from an archive that had not all of it.
    let image = power_cut(&disk);
    let marks = ArchiveStatus::new(host_on(&image).disk, &Path::new(DIR).join("pg_wal"));
    let name = SegmentNumber::new(1).file_name(TimelineId::FIRST, size);
    marks.notify(&name).unwrap();
    marks.done(&name).unwrap();
    let db = open(&image);
    write(&db, tree, &[("b", "2")], SyncLevel::Local).await;
    let image = power_cut(&image);
    let marks = ArchiveStatus::new(host_on(&image).disk, &Path::new(DIR).join("pg_wal"));
    assert_eq!(marks.of(&name).unwrap(), Archived::Unknown);
    drop(db);
    let db = open(&image);
    assert_eq!(read(&db, tree, "b").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_log_that_ends_within_a_segment_that_is_marked_for_the_archive_is_damage() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    let end = db.positions().unwrap().flushed();
    write(&db, tree, &[("a", "2")], SyncLevel::Local).await;
    let wal = db.wal().unwrap();
    wal.switch_segment().unwrap();
    wal.flush_all().unwrap();
    let (size, whole) = (wal.segment_size(), power_cut(&disk));
    let lost = whole.fork();
    let file = lost.open(Path::new(&path_of(end)), OpenMode::ReadWrite).unwrap();
    file.write_all_at(&vec![0; (SIZE - end.get() % SIZE) as usize], end.get() % SIZE).unwrap();
    file.sync().unwrap();
    assert_eq!(try_open(&lost.fork(), options()).unwrap().1.to, end, "nothing tells of more");
    let name = size.segment_of(end).file_name(TimelineId::FIRST, size);
    let marks = |image: &VirtualDisk| ArchiveStatus::new(host_on(image).disk, &Path::new(DIR).join("pg_wal"));
    for is_archived in [false, true] {
        for image in [&whole, &lost] {
            marks(image).notify(&name).unwrap();
            if is_archived {
                marks(image).done(&name).unwrap();
            }
        }
        let error = try_open(&lost.fork(), options()).unwrap_err().to_string();
        let next = size.start_of(size.segment_of(end).next());
        assert!(error.contains(&format!("flushed up to {next}")), "{error}");
        try_open(&whole.fork(), options()).unwrap();
    }
}

#[tokio::test]
async fn a_log_that_ends_before_the_checkpoint_of_the_control_file_is_damage() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    let redo = db.positions().unwrap().inserted();
    db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
    let path = path_of(redo);
    drop(db);
    let file = disk.open(Path::new(&path), OpenMode::ReadWrite).unwrap();
    let checkpoint = {
        let control = wal::control::ControlFile::load(&disk, Path::new(DIR)).unwrap();
        control.checkpoint
    };
    // The checkpoint record itself is gone: an error, whatever else is there.
    file.write_all_at(&[0; 40], checkpoint.get() % SIZE).unwrap();
    let error = try_open(&disk, options()).unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "XX001", "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_new_pages_and_never_keeps_a_changed_page_from_being_written() {
    let (disk, db, tree) = with_tree().await;
    let filler = "x".repeat(500);
    write(&db, tree, &[("first", &filler)], SyncLevel::Local).await;
    db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
    let used = visibility::disk_usage(&disk, Path::new(DIR));
    // Room for some log, not for data.
    disk.set_capacity(used + 64 * 8192);
    let mut refused = None;
    for row in 0..20_000 {
        let mut transaction = statement(&db, Isolation::ReadCommitted).await;
        put(&mut transaction, tree, &format!("row {row:06}"), &filler).await.unwrap();
        if let Err(error) = transaction.commit(SyncLevel::Local).await {
            refused = Some(error);
            break;
        }
        if row % 200 == 0 {
            db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
        }
    }
    assert_eq!(refused.unwrap().sqlstate().as_str(), "53100");
    // All that was taken can be written, and what needs no page can be done.
    for _ in 0..3 {
        db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
        write(&db, tree, &[("first", "again")], SyncLevel::Local).await;
    }
    disk.set_capacity(u64::MAX);
    write(&db, tree, &[("zz last", &filler)], SyncLevel::Local).await;
    let (db, _) = try_open(&power_cut(&disk), options()).unwrap();
    assert_eq!(read(&db, tree, "zz last").await.as_deref(), Some(filler.as_str()));
    assert_eq!(read(&db, tree, "first").await.as_deref(), Some("again"));
}

#[tokio::test]
async fn a_crashed_primary_that_is_told_to_follow_serves_no_reads_before_its_own_log_is_redone() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "old")], SyncLevel::Local).await;
    db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
    write(&db, tree, &[("a", "new"), ("b", "new")], SyncLevel::Local).await;
    let end = db.positions().unwrap().flushed();
    drop(db);
    let mode = StartMode::Standby { timeline: TimelineId::FIRST };
    let Opened::Standby { db, .. } = Database::open(&host_on(&disk), options(), mode).unwrap() else {
        panic!("asked for a standby")
    };
    assert!(db.is_consistent() && db.is_in_recovery());
    assert_eq!(db.replayed(), end);
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("new"));
    assert_eq!(read(&db, tree, "b").await.as_deref(), Some("new"));
    let control = db.control();
    assert_eq!(control.min_recovery_point, end, "the next start knows it too");
    assert_eq!(control.state, wal::control::ClusterState::InArchiveRecovery);
}

/// Log bytes that changing each of many pages for the first time after a checkpoint takes, and what a crash
/// leaves of the rows.
async fn bytes_of_images(image_compression: crate::ImageCompression, full_page_writes: bool) -> u64 {
    let disk = new_disk();
    let options = || DatabaseOptions { image_compression, full_page_writes, ..options() };
    let (db, _) = try_open(&disk, options()).unwrap();
    let mut transaction = db.begin(Isolation::ReadCommitted);
    let tree = transaction.create_tree(5).await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    let filler = "text that repeats itself ".repeat(20);
    for row in 0..200 {
        write(&db, tree, &[(&format!("row {row:03}"), &filler)], SyncLevel::Off).await;
    }
    db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
    let from = db.positions().unwrap().inserted();
    for row in (0..200).step_by(10) {
        write(&db, tree, &[(&format!("row {row:03}"), "changed")], SyncLevel::Local).await;
    }
    let bytes = db.positions().unwrap().inserted().bytes_since(from);
    let (db, _) = try_open(&power_cut(&disk), options()).unwrap();
    assert_eq!(read(&db, tree, "row 050").await.as_deref(), Some("changed"));
    assert_eq!(read(&db, tree, "row 051").await.as_deref(), Some(filler.as_str()));
    db.store().tree(tree).unwrap().verify().unwrap();
    bytes
}

#[tokio::test]
async fn wal_compression_and_full_page_writes_change_what_images_take_in_the_log() {
    use crate::ImageCompression::{Lz4, Off, Zstd};
    let plain = bytes_of_images(Off, true).await;
    let (lz4, zstd) = (bytes_of_images(Lz4, true).await, bytes_of_images(Zstd, true).await);
    let none = bytes_of_images(Off, false).await;
    assert!(lz4 * 2 < plain && zstd * 2 < plain, "plain {plain}, lz4 {lz4}, zstd {zstd}");
    assert!(none < lz4 && none < zstd, "without images {none}, lz4 {lz4}, zstd {zstd}");
}

#[tokio::test]
async fn old_segments_are_recycled_or_removed_as_wal_recycle_says() {
    for wal_recycle in [true, false] {
        let disk = new_disk();
        let wal_sizes =
            WalSizes { min_bytes: 8 << 20, max_bytes: 16 << 20, recycle: wal_recycle, ..WalSizes::default() };
        let (db, _) = try_open(&disk, DatabaseOptions { wal_sizes, ..options() }).unwrap();
        let mut counted = (0, 0);
        for _ in 0..4 {
            db.wal().unwrap().switch_segment().unwrap();
            let info = db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
            counted = (counted.0 + info.segments.1, counted.1 + info.segments.2);
            let mut transaction = db.begin(Isolation::ReadCommitted);
            transaction.create_tree(5).await.unwrap();
            transaction.commit(SyncLevel::Local).await.unwrap();
        }
        let (removed, recycled) = counted;
        assert_eq!(recycled > 0, wal_recycle, "{removed} removed, {recycled} recycled");
        assert!(removed + recycled > 0);
    }
}

#[tokio::test]
async fn a_stop_that_leaves_log_leaves_it_to_the_first_checkpoint_of_the_next_life() {
    for leaves in [true, false] {
        let disk = new_disk();
        let wal_sizes =
            WalSizes { min_bytes: 3 << 20, max_bytes: 16 << 20, recycle: false, ..WalSizes::default() };
        let (db, _) = try_open(&disk, DatabaseOptions { wal_sizes, ..options() }).unwrap();
        for _ in 0..4 {
            db.wal().unwrap().switch_segment().unwrap();
            let mut transaction = db.begin(Isolation::ReadCommitted);
            transaction.create_tree(5).await.unwrap();
            transaction.commit(SyncLevel::Local).await.unwrap();
        }
        let stopped = if leaves { db.shutdown_leaving_log().await } else { db.shutdown().await };
        let (_, removed, _) = stopped.unwrap().segments;
        assert_eq!(removed == 0, leaves, "{removed} removed at the stop");
        drop(db);
        let (db, _) = try_open(&disk, DatabaseOptions { wal_sizes, ..options() }).unwrap();
        let (_, removed, _) = db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap().segments;
        assert_eq!(removed > 0, leaves, "{removed} removed afterwards");
    }
}

/// How many segments pg_wal holds.
fn segments(disk: &VirtualDisk) -> u64 {
    let size = SegmentSize::new(SIZE).unwrap();
    let names = disk.list(&Path::new(DIR).join("pg_wal")).unwrap();
    names.iter().filter(|entry| SegmentNumber::parse_file_name(&entry.name, size).is_some()).count() as u64
}

/// Segments there after a peak of log and a checkpoint, and after many quiet rounds.
async fn segments_after_peak_and_calm(wal_sizes: WalSizes) -> (u64, u64) {
    let disk = new_disk();
    let (db, _) = try_open(&disk, options()).unwrap();
    // As a reload does it.
    db.set_wal_sizes(wal_sizes);
    let round = async |switches: u32| {
        for _ in 0..switches {
            let mut transaction = db.begin(Isolation::ReadCommitted);
            transaction.create_tree(5).await.unwrap();
            transaction.commit(SyncLevel::Local).await.unwrap();
            db.wal().unwrap().switch_segment().unwrap();
        }
        db.checkpoint(crate::CheckpointKind::Immediate).await.unwrap();
    };
    round(20).await;
    round(1).await;
    let peak = segments(&disk);
    for _ in 0..60 {
        round(1).await;
    }
    (peak, segments(&disk))
}

#[tokio::test]
async fn pg_wal_shrinks_from_max_wal_size_to_min_wal_size_as_the_log_gets_calm() {
    let sizes =
        |min: u64, max: u64| WalSizes { min_bytes: min << 20, max_bytes: max << 20, ..WalSizes::default() };
    // One more than the bound: the segment that the log is in when the checkpoint ends.
    let (peak, calm) = segments_after_peak_and_calm(sizes(3, 10)).await;
    assert!((9..=11).contains(&peak), "{peak} segments of 1 MB with max_wal_size = 10 MB");
    assert!((3..=5).contains(&calm), "{calm} segments of 1 MB after calm with min_wal_size = 3 MB");
    let (_, calm) = segments_after_peak_and_calm(sizes(8, 10)).await;
    assert!((8..=9).contains(&calm), "{calm} segments of 1 MB after calm with min_wal_size = 8 MB");
}

#[tokio::test]
async fn a_recovery_that_is_told_to_end_ends_and_the_next_one_starts_over() {
    let (disk, db, tree) = with_tree().await;
    for round in 0..50 {
        let keys: Vec<String> = (0..100).map(|key| format!("{round}/{key}")).collect();
        let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "1")).collect();
        write(&db, tree, &pairs, SyncLevel::Local).await;
    }
    let end = db.positions().unwrap().inserted();
    drop(db);
    let told = DatabaseOptions { end_recovery: Arc::new(AtomicBool::new(true)), ..options() };
    assert!(matches!(try_open(&disk, told), Err(Error::Shutdown)));
    let (_, report) = try_open(&disk, options()).unwrap();
    assert_eq!(report.to, end);
}

#[tokio::test]
async fn an_opening_that_is_told_to_end_ends_before_it_is_done_however_little_there_is_to_do() {
    let (disk, ends) = three_commits().await;
    let told = DatabaseOptions { end_recovery: Arc::new(AtomicBool::new(true)), ..options() };
    assert!(matches!(try_open(&disk, told), Err(Error::Shutdown)));
    assert_eq!(try_open(&disk, options()).unwrap().1.to, ends[3]);
}

#[tokio::test]
async fn a_server_that_gives_up_makes_no_checkpoint_any_more_and_has_all_at_the_next_start() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    let begun = db.control().checkpoint;
    db.give_up();
    assert!(matches!(db.checkpoint(crate::CheckpointKind::Immediate).await, Err(Error::Shutdown)));
    assert_eq!(db.control().checkpoint, begun);
    drop(db);
    let (db, _) = try_open(&power_cut(&disk), options()).unwrap();
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_directory_whose_state_page_is_lost_is_refused_with_the_files_name() {
    let (disk, db, tree) = with_tree().await;
    drop(db);
    let (db, _) = try_open(&disk, large::small()).unwrap();
    let mut given_up = statement(&db, Isolation::ReadCommitted).await;
    large::fill(&mut given_up, tree, 0..200, "never").await;
    assert!(given_up.is_early());
    given_up.rollback();
    let copied = backup(&disk, &db, async {}).await;
    let killed = power_cut(&disk);
    db.shutdown().await.unwrap();
    drop(db);
    let stopped = disk.crash(CrashPolicy::KeepAll);
    let path = Path::new(DIR).join("base/1/9999");
    let damage = |disk: &VirtualDisk, left: Option<u64>| match left {
        None => disk.remove_file(&path).unwrap(),
        Some(bytes) => disk.open(&path, OpenMode::ReadWrite).unwrap().truncate(bytes).unwrap(),
    };
    let damages =
        [(None, "it is missing"), (Some(0), "it has fewer than"), (Some(8191), "it has fewer than")];
    for (name, whole) in [("stopped", &stopped), ("killed", &killed), ("backup", &copied)] {
        for (left, words) in damages {
            let damaged = whole.crash(CrashPolicy::KeepAll);
            damage(&damaged, left);
            let refused = try_open(&damaged, options()).unwrap_err();
            assert!(matches!(refused, Error::Corrupt(_)), "{name}: {refused:?}");
            let told = refused.to_string();
            let is_named = told.starts_with(&format!("file base/1/9999: {words}"));
            assert!(is_named && told.contains("restore the directory"), "{name}: {told}");
            // Nothing has made it anew meanwhile.
            assert_eq!(try_open(&damaged, options()).unwrap_err().to_string(), told, "{name}");
        }
        let db = open(&whole.crash(CrashPolicy::KeepAll));
        assert_eq!(read(&db, tree, "000001").await, None, "{name}");
    }
}
