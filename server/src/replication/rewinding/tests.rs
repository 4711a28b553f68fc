//! What the ledger tells of a rewind that ends before its first change.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use super::{keep_discarded, leave_as_is};
use crate::replication::ledger::read_ledger;
use host::{Disk as _, Host};
use rewind::{NodeFiles, Rewind, RewindError, RewindOptions, SourceName, remove_leftovers};
use simulation::{Call, CrashPolicy, Fault, FaultKind, VirtualDisk};
use std::path::Path;
use storage::{
    CheckpointKind, CreateOptions, DISCARD_PREFIX, Database, DatabaseOptions, Feed, Isolation, LockMode,
    LockWait, Opened, PromoteOptions, REWIND_MARKER, StartMode, SyncLevel, TreeId, WalFeed, WalSizes,
};
use wal::{Lsn, SegmentSize, TimelineId};

fn machine(disk: &VirtualDisk) -> Host {
    simulation::host(disk, 7)
}

fn options(dir: &str) -> DatabaseOptions {
    DatabaseOptions {
        shared_buffers_bytes: 1 << 20,
        wal_buffers_bytes: 1 << 20,
        background: false,
        wal_sizes: WalSizes { min_bytes: 1 << 20, max_bytes: 16 << 20, ..WalSizes::default() },
        ..DatabaseOptions::new(dir)
    }
}

fn open(disk: &VirtualDisk, dir: &str) -> Database {
    match Database::open(&machine(disk), options(dir), StartMode::Primary).unwrap() {
        Opened::Primary { db, .. } => db,
        Opened::Standby { .. } => panic!("asked for a primary"),
    }
}

async fn write(db: &Database, tree: TreeId, value: &str) {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await.unwrap();
    transaction.lock(tree, b"row", LockMode::Exclusive, LockWait::Forever).await.unwrap();
    transaction.put(tree, "row".to_owned(), value.to_owned()).unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
}

/// Has redo end for a promotion where the log ends.
struct PromoteNow;

impl WalFeed for PromoteNow {
    fn wait_past(&self, _lsn: Lsn) -> Feed {
        Feed::Promote { timeline: TimelineId::FIRST }
    }
}

/// A copy of /one that was promoted, wrote and was stopped.
async fn promote_copy(disk: &VirtualDisk, tree: TreeId, to: &str, timeline: u32) {
    let copy = tempfile::tempdir().unwrap();
    disk.export(Path::new("/one"), copy.path()).unwrap();
    disk.import(copy.path(), Path::new(to)).unwrap();
    disk.remove_file(&Path::new(to).join("plimsoll/lock")).unwrap();

    let mode = StartMode::Standby { timeline: TimelineId::FIRST };
    let opened = Database::open(&machine(disk), options(to), mode).unwrap();
    let Opened::Standby { db, mut redo } = opened else { panic!("asked for a standby") };
    let end = redo.run(&PromoteNow).unwrap();
    let how = PromoteOptions { new_timeline: TimelineId::new(timeline), reason: "test".into() };
    db.promote(end, how).await.unwrap().end_recovery().await.unwrap();
    write(&db, tree, "there").await;
    db.shutdown().await.unwrap();
}

/// /one: a primary that was killed; /two: its copy, promoted before /one's last commit, and stopped.
async fn diverged() -> (VirtualDisk, TreeId) {
    let disk = VirtualDisk::new();
    let small =
        CreateOptions { segment_size: SegmentSize::new(1 << 20).unwrap(), ..CreateOptions::default() };
    Database::create(&machine(&disk), Path::new("/one"), &small).unwrap();
    let one = open(&disk, "/one");
    // So what a page held before is on that page alone.
    one.set_full_page_writes(false).unwrap();
    let mut transaction = one.begin(Isolation::ReadCommitted);
    let tree = transaction.create_tree(5).await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    write(&one, tree, "common").await;
    one.checkpoint(CheckpointKind::Immediate).await.unwrap();
    write(&one, tree, "before the fork").await;
    promote_copy(&disk, tree, "/two", 2).await;
    write(&one, tree, "here").await;
    drop(one);
    (disk.fork(), tree)
}

/// All of a rewind up to its first change.
async fn begin(disk: &VirtualDisk) -> Result<Rewind, RewindError> {
    begin_to(disk, "/two").await
}

async fn begin_to(disk: &VirtualDisk, source: &str) -> Result<Rewind, RewindError> {
    let options = RewindOptions {
        source: SourceName::Directory(source.into()),
        target: "/one".into(),
        node_files: NodeFiles::Keep,
        standby: true,
        supply: None,
        stop: Default::default(),
    };
    let mut rewind = Rewind::prepare(&machine(disk), options).await?;
    keep_discarded(&machine(disk), Path::new("/one"), &mut rewind, &mut |_| {}).await?;
    Ok(rewind)
}

async fn carry_out(disk: &VirtualDisk) -> Result<(), RewindError> {
    carry_out_to(disk, "/two").await
}

async fn carry_out_to(disk: &VirtualDisk, source: &str) -> Result<(), RewindError> {
    begin_to(disk, source).await?.run(&mut |_| {}).await.map(|_| ())
}

/// What the marker says; nothing where none stands.
fn marker(disk: &VirtualDisk) -> String {
    let bytes = disk.read(&Path::new("/one").join(REWIND_MARKER), 1 << 20).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Killed as soon as it may have changed files.
async fn kill_amid_changes(disk: &VirtualDisk, source: &str) -> VirtualDisk {
    for call in 1.. {
        let killed = disk.fork();
        killed.inject(Fault::power_off(call));
        assert!(carry_out_to(&killed, source).await.is_err(), "call {call}");
        let left = killed.fork();
        let marker = marker(&left);
        if marker.contains("phase=copying") && marker.contains(&format!("source={source}")) {
            return left;
        }
    }
    unreachable!("it ends by its own")
}

/// The server of /one starts, writes and is killed.
async fn write_on(disk: &VirtualDisk, tree: TreeId) {
    remove_leftovers(disk, Path::new("/one")).unwrap();
    write(&open(disk, "/one"), tree, "more").await;
}

fn is_marked(disk: &VirtualDisk) -> bool {
    disk.exists(&Path::new("/one").join(REWIND_MARKER)).unwrap()
}

/// How often the ledger tells of a discard.
fn told(disk: &VirtualDisk) -> usize {
    let entries = read_ledger(&machine(disk), Path::new("/one")).unwrap();
    entries.iter().filter(|entry| entry.event == "discarded").count()
}

/// The files of what rewinds discarded.
fn kept_names(disk: &VirtualDisk) -> Vec<String> {
    let entries = disk.list(Path::new("/one/plimsoll")).unwrap();
    let is_kept = |name: &String| name.starts_with(DISCARD_PREFIX) && name.ends_with(".json");
    entries.into_iter().map(|entry| entry.name).filter(is_kept).collect()
}

/// How many of them there are.
fn kept(disk: &VirtualDisk) -> usize {
    kept_names(disk).len()
}

/// What the only one says.
fn report(disk: &VirtualDisk) -> String {
    let names = kept_names(disk);
    let [name] = names.as_slice() else { panic!("{names:?}") };
    let bytes = disk.read(&Path::new("/one/plimsoll").join(name), 1 << 20).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// How many commits it tells of.
fn commits(disk: &VirtualDisk) -> usize {
    // The first line names the discard.
    report(disk).lines().count() - 1
}

/// Each file that the ledger names is there.
fn check_named(disk: &VirtualDisk, what: &str) {
    let kept = kept_names(disk);
    for entry in read_ledger(&machine(disk), Path::new("/one")).unwrap() {
        if let Some((_, name)) = entry.reason.rsplit_once("kept in plimsoll/") {
            assert!(kept.iter().any(|kept| kept == name), "{what}: {name} is none of {kept:?}");
        }
    }
}

/// As the process leaves it that was killed at some call, and as a power cut does.
fn after(killed: &VirtualDisk) -> [VirtualDisk; 2] {
    [killed.fork(), killed.crash(CrashPolicy::LoseUnsynced)]
}

#[tokio::test]
async fn a_discard_is_told_once_also_if_its_rewind_was_killed_and_the_server_wrote_on() {
    let (disk, tree) = diverged().await;
    let (mut wrote_on, mut marked) = (0, 0);
    for call in 1.. {
        let killed = disk.fork();
        killed.inject(Fault::power_off(call));
        let begun = begin(&killed).await.is_ok();
        for mut left in after(&killed) {
            check_named(&left, &format!("call {call}"));
            if is_marked(&left) {
                marked += 1;
            } else {
                wrote_on += 1;
                let discards = (told(&left), kept(&left));
                assert_eq!(discards, (0, 0), "call {call}: its server may start, and discards nothing");
                write_on(&left, tree).await;
                left = left.fork();
            }
            carry_out(&left).await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!((told(&left), kept(&left)), (1, 1), "call {call}");
        }
        if begun {
            break;
        }
    }
    assert!(wrote_on > 6 && marked > 4, "{wrote_on} {marked}");
}

#[tokio::test]
async fn a_rewind_that_was_killed_before_its_first_change_tells_all_rows_when_it_is_run_again() {
    let (disk, _) = diverged().await;
    let whole = disk.fork();
    begin(&whole).await.unwrap();
    let told = report(&whole);
    assert!(!told.contains("_unknown"), "{told}");
    let mut marked = 0;
    for call in 1.. {
        let killed = disk.fork();
        killed.inject(Fault::power_off(call));
        let begun = begin(&killed).await.is_ok();
        for left in after(&killed) {
            marked += u32::from(is_marked(&left));
            begin(&left).await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!(report(&left), told, "call {call}");
            check_named(&left, &format!("call {call}"));
        }
        if begun {
            break;
        }
    }
    assert!(marked > 4, "{marked}");
}

#[tokio::test]
async fn a_rewind_that_the_ledger_does_not_take_changes_nothing_unless_an_earlier_one_may_have() {
    let (disk, tree) = diverged().await;
    let full = || Fault::always(Call::Write, "plimsoll/ledger", FaultKind::NoSpace);
    let first = disk.fork();
    first.inject(full());
    let error = begin(&first).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    for left in after(&first) {
        assert!(!is_marked(&left) && (told(&left), kept(&left)) == (0, 0));
        write_on(&left, tree).await;
    }

    // An entry that lacks nothing but its end is whole, and this disk does not let it be taken back.
    let stuck = disk.fork();
    let on_write = |nth, kind| Fault::once(Call::Write, "plimsoll/ledger", nth, kind);
    stuck.inject(on_write(1, FaultKind::Short(usize::MAX)));
    stuck.inject(on_write(2, FaultKind::NoSpace));
    stuck.inject(Fault::always(Call::Truncate, "plimsoll/ledger", FaultKind::Io));
    begin(&stuck).await.unwrap_err();
    assert_eq!(told(&stuck), 1);
    for left in after(&stuck) {
        assert!(is_marked(&left), "its server does not write on");
        carry_out(&left).await.unwrap();
        assert_eq!((told(&left), kept(&left)), (1, 1));
    }

    // As it is killed between the marker and the ledger.
    let marked = disk.fork();
    drop(begin(&marked).await.unwrap());
    marked.remove_file(Path::new("/one/plimsoll/ledger")).unwrap();
    let marked = marked.fork();
    marked.inject(full());
    begin(&marked).await.unwrap_err();
    for left in after(&marked) {
        assert!(is_marked(&left) && told(&left) == 0);
        carry_out(&left).await.unwrap();
        assert_eq!(told(&left), 1);
    }
}

/// The first source parted before the second: what /one wrote between is discarded by the rewind to it alone.
#[tokio::test]
async fn a_rewind_that_was_killed_before_its_first_change_and_goes_elsewhere_has_discarded_nothing() {
    let (disk, tree) = diverged().await;
    promote_copy(&disk, tree, "/three", 3).await;
    write_on(&disk, tree).await;
    let (before, mut marked) = (disk.fork(), 0);
    drop(begin(&before).await.unwrap());
    let before = before.fork();
    assert!(is_marked(&before));
    assert_eq!(commits(&before), 2, "before and behind the fork of /three");
    for call in 1.. {
        let killed = before.fork();
        killed.inject(Fault::power_off(call));
        let begun = begin_to(&killed, "/three").await.is_ok();
        for left in after(&killed) {
            check_named(&left, &format!("call {call}"));
            marked += u32::from(is_marked(&left));
            let again = left.fork();
            begin_to(&left, "/three").await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!((told(&left), kept(&left)), (1, 1), "call {call}");
            assert_eq!(commits(&left), 1, "call {call}: {}", report(&left));
            check_named(&left, &format!("call {call}"));
            // Nor is anything lost if it goes back to the first.
            begin(&again).await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!((told(&again), kept(&again)), (1, 1), "call {call}");
            assert_eq!(commits(&again), 2, "call {call}");
        }
        if begun {
            break;
        }
    }
    assert!(marked > 6, "{marked}");
}

/// An entry that others follow is not taken back, nor is the file that it names.
#[tokio::test]
async fn what_the_ledger_cannot_take_back_stays_as_a_whole() {
    let (disk, tree) = diverged().await;
    promote_copy(&disk, tree, "/three", 3).await;
    write_on(&disk, tree).await;
    drop(begin(&disk).await.unwrap());
    let ledger = Path::new("/one/plimsoll/ledger");
    let entry = disk.read(ledger, 1 << 20).unwrap();
    host::write_file_durably(&disk, Path::new("/one/plimsoll/ledger.old"), &entry).unwrap();
    disk.remove_file(ledger).unwrap();
    let disk = disk.fork();
    begin_to(&disk, "/three").await.unwrap();
    assert_eq!((told(&disk), kept(&disk)), (2, 2));
    check_named(&disk, "moved");
}

/// Between the forks of both sources lies a commit that stays, whatever pages the first run has overwritten.
#[tokio::test]
async fn a_rewind_that_was_killed_amid_its_changes_and_goes_to_a_later_fork_tells_less_and_as_much_of_it() {
    let (disk, tree) = diverged().await;
    promote_copy(&disk, tree, "/three", 3).await;
    write_on(&disk, tree).await;
    let disk = disk.fork();
    let direct = disk.fork();
    begin_to(&direct, "/three").await.unwrap();
    let direct = report(&direct);
    let (mut copying, mut call) = (0, 0);
    let mut changed = None;
    loop {
        call += 1;
        let killed = disk.fork();
        killed.inject(Fault::power_off(call));
        let is_done = carry_out(&killed).await.is_ok();
        let left = killed.fork();
        if marker(&left).contains("phase=copying") {
            copying += 1;
            begin_to(&left, "/three").await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!((told(&left), kept(&left)), (1, 1), "call {call}");
            assert_eq!(report(&left), direct, "call {call}");
            check_named(&left, &format!("call {call}"));
            changed = Some(killed.fork());
        }
        if is_done {
            break;
        }
    }
    assert!(copying > 3, "{copying}");
    let changed = changed.unwrap();
    for call in 1.. {
        let killed = changed.fork();
        killed.inject(Fault::power_off(call));
        let begun = begin_to(&killed, "/three").await.is_ok();
        for left in after(&killed) {
            check_named(&left, &format!("call {call}"));
            begin_to(&left, "/three").await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!((told(&left), report(&left)), (1, direct.clone()), "call {call}");
            check_named(&left, &format!("call {call}"));
        }
        if begun {
            break;
        }
    }
}

/// Each tells more or less than the one before; the last one leaves most.
#[tokio::test]
async fn what_all_runs_have_told_that_were_killed_is_taken_back_by_one_that_goes_to_a_later_fork() {
    let (disk, tree) = diverged().await;
    promote_copy(&disk, tree, "/three", 3).await;
    write_on(&disk, tree).await;
    promote_copy(&disk, tree, "/six", 4).await;
    write_on(&disk, tree).await;
    let disk = disk.fork();
    let direct = disk.fork();
    begin_to(&direct, "/six").await.unwrap();
    let direct = report(&direct);
    for runs in [["/three", "/two"], ["/two", "/three"]] {
        let mut left = disk.fork();
        for source in runs {
            left = kill_amid_changes(&left, source).await;
            check_named(&left, source);
        }
        carry_out_to(&left, "/six").await.unwrap();
        assert_eq!((told(&left), report(&left)), (1, direct.clone()), "{runs:?}");
        check_named(&left, "/six");
    }
}

/// /four: /one as it was stopped, with all that it has.
#[tokio::test]
async fn a_rewind_that_has_changed_nothing_is_taken_back_where_there_is_nothing_to_rewind() {
    let (disk, _) = diverged().await;
    let copy = tempfile::tempdir().unwrap();
    disk.export(Path::new("/one"), copy.path()).unwrap();
    drop(begin(&disk).await.unwrap());
    let begun = disk.fork();
    assert!(is_marked(&begun) && (told(&begun), kept(&begun)) == (1, 1));
    begun.import(copy.path(), Path::new("/four")).unwrap();
    let four = open(&begun, "/four");
    four.shutdown().await.unwrap();
    drop(four);
    let begun = begun.fork();
    for call in 1.. {
        let killed = begun.fork();
        killed.inject(Fault::power_off(call));
        let left_as_is = async |disk: &VirtualDisk| {
            let mut rewind = begin_to(disk, "/four").await?;
            leave_as_is(&machine(disk), Path::new("/one"), &mut rewind)
        };
        let done = left_as_is(&killed).await.is_ok();
        for left in after(&killed) {
            check_named(&left, &format!("call {call}"));
            assert!(is_marked(&left) || (told(&left), kept(&left)) == (0, 0), "call {call}");
            left_as_is(&left).await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert!(!is_marked(&left) && (told(&left), kept(&left)) == (0, 0), "call {call}");
        }
        if done {
            break;
        }
    }
}
