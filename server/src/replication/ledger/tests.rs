use super::*;
use host::Disk as _;
use simulation::{CrashPolicy, Fault, VirtualDisk};

const SIZE: u64 = 64 << 10;

fn folder() -> (Host, tempfile::TempDir) {
    let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
    host.disk.create_dir_all(&dir.path().join("plimsoll")).unwrap();
    (host, dir)
}
/// Appends an entry.
fn append(host: &Host, data_dir: &Path, entry: &LedgerEntry) -> io::Result<()> {
    let mut waiting = Waiting::default();
    waiting.add(entry.clone());
    write(host, data_dir, &mut waiting)
}
fn write(host: &Host, data_dir: &Path, waiting: &mut Waiting) -> io::Result<()> {
    let log = Log::new(Arc::new(|_| {}), host.clock.clone());
    LedgerFile { host, data_dir, log: &log, size_bytes: SIZE }.write(waiting)
}
fn entry(n: u64) -> LedgerEntry {
    LedgerEntry {
        at: Timestamp::from_micros(7),
        event: "released".into(),
        after: Lsn::new(n),
        upto: Lsn::new(n + 1),
        reason: "no answer in 30 s".into(),
    }
}

#[test]
fn entries_come_back_and_a_damaged_line_is_left_out() {
    let (host, dir) = folder();
    assert_eq!(read_ledger(&host, dir.path()).unwrap(), []);
    for n in 0..3 {
        append(&host, dir.path(), &entry(n)).unwrap();
    }
    assert_eq!(read_ledger(&host, dir.path()).unwrap(), [entry(0), entry(1), entry(2)]);
    let text = std::fs::read_to_string(path(dir.path())).unwrap();
    std::fs::write(path(dir.path()), text.replacen("0/1", "0/9", 1)).unwrap();
    assert_eq!(read_ledger(&host, dir.path()).unwrap(), [entry(1), entry(2)]);
}

#[test]
fn a_ledger_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let (host, dir) = folder();
    std::fs::create_dir(path(dir.path())).unwrap();
    assert!(read_ledger(&host, dir.path()).is_err());
}

#[test]
fn after_a_torn_entry_the_next_one_stands_alone_and_the_loss_is_told() {
    let (host, dir) = folder();
    append(&host, dir.path(), &entry(0)).unwrap();
    append(&host, dir.path(), &entry(1)).unwrap();
    let whole = std::fs::read(path(dir.path())).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // At each byte, and with the zeros that a file system leaves where it had no time to write.
    for (cut, zeros) in (second..whole.len()).flat_map(|cut| [(cut, 0), (cut, 3)]) {
        let torn = [&whole[..cut], &[0; 3][..zeros]].concat();
        std::fs::write(path(dir.path()), &torn).unwrap();
        append(&host, dir.path(), &entry(2)).unwrap();
        append(&host, dir.path(), &entry(3)).unwrap();
        let mut kept = read_ledger(&host, dir.path()).unwrap();
        if torn.len() + 1 == whole.len() && zeros == 0 {
            assert_eq!(kept.remove(1), entry(1), "only its end was missing");
        } else if torn.len() > second {
            let told = kept.remove(1);
            assert_eq!(told.event, "torn", "cut at {cut}");
            assert!(told.reason.contains(&format!(" {} bytes", torn.len() - second)), "{}", told.reason);
        }
        assert_eq!(kept, [entry(0), entry(2), entry(3)], "cut at {cut}");
    }
}

#[test]
fn what_a_full_disk_does_not_take_is_written_in_order_when_there_is_room() {
    let (disk, dir) = (VirtualDisk::new(), Path::new("/data"));
    let host = Host { disk: Arc::new(disk.clone()), ..Host::real() };
    disk.create_dir_all(&dir.join("plimsoll")).unwrap();
    append(&host, dir, &entry(0)).unwrap();
    let used = disk.metadata(&path(dir)).unwrap().len;
    // Room for a part of the second entry, and then for none.
    let mut waiting = Waiting::default();
    let count = WAITING_MAX as u64 + 20;
    for (n, room) in (1..=count).zip([20].into_iter().chain(std::iter::repeat(0))) {
        disk.set_capacity(used + room);
        waiting.add(entry(n));
        write(&host, dir, &mut waiting).unwrap_err();
        assert_eq!(disk.metadata(&path(dir)).unwrap().len, used, "what is there is whole");
    }
    assert_eq!(waiting.count() as u64, count);
    disk.set_capacity(u64::MAX);
    write(&host, dir, &mut waiting).unwrap();
    let mut kept = read_ledger(&host, dir).unwrap();
    let gone = kept.pop().unwrap();
    assert_eq!(kept, (0..=WAITING_MAX as u64).map(entry).collect::<Vec<_>>());
    assert_eq!((gone.event.as_str(), gone.upto), ("forgotten", Lsn::new(count + 1)));
    assert!(gone.reason.contains(" 20 entries went"), "{}", gone.reason);
    assert_eq!(waiting.count(), 0);
}

/// Whoever records it is killed at any call, is run again, and then power fails.
#[test]
fn an_event_that_is_recorded_once_is_durable_and_not_told_again() {
    let (disk, dir) = (VirtualDisk::new(), Path::new("/data"));
    disk.create_dir_all(&dir.join("plimsoll")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(dir).unwrap();
    let record = |disk: &VirtualDisk| {
        let host = Host { disk: Arc::new(disk.clone()), ..Host::real() };
        record_once(&host, dir, &entry(0), &|told| told.reason == entry(0).reason)
    };
    for call in 1.. {
        let killed = disk.fork();
        killed.inject(Fault::power_off(call));
        let done = record(&killed).is_ok();
        killed.clear_faults();
        record(&killed).unwrap();
        let after = Host { disk: Arc::new(killed.crash(CrashPolicy::LoseUnsynced)), ..Host::real() };
        assert_eq!(read_ledger(&after, dir).unwrap(), [entry(0)], "killed at call {call}");
        if done {
            assert!(call > 3, "{call}");
            return;
        }
    }
}

#[test]
fn a_full_ledger_on_a_full_disk_forgets_nothing_silently() {
    let (disk, dir) = (VirtualDisk::new(), Path::new("/data"));
    let host = Host { disk: Arc::new(disk.clone()), ..Host::real() };
    disk.create_dir_all(&dir.join("plimsoll")).unwrap();
    let mut n = 0;
    // Until the older half is about to go.
    while !disk.exists(&old_path(dir)).unwrap() || disk.metadata(&path(dir)).unwrap().len < SIZE / 2 {
        append(&host, dir, &entry(n)).unwrap();
        n += 1;
    }
    disk.set_capacity(0);
    let mut waiting = Waiting::default();
    waiting.add(entry(n));
    write(&host, dir, &mut waiting).unwrap_err();
    disk.set_capacity(u64::MAX);
    write(&host, dir, &mut waiting).unwrap();
    let kept = read_ledger(&host, dir).unwrap();
    let forgotten = kept.iter().filter(|entry| entry.event == "forgotten").count();
    assert_eq!((kept.last(), forgotten), (Some(&entry(n)), 1));
}

#[test]
fn a_crash_while_a_full_ledger_turns_forgets_nothing_silently() {
    let (disk, dir) = (VirtualDisk::new(), Path::new("/data"));
    let host = |disk: &VirtualDisk| Host { disk: Arc::new(disk.clone()), ..Host::real() };
    disk.create_dir_all(&dir.join("plimsoll")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(dir).unwrap();
    let mut n = 0;
    while !disk.exists(&old_path(dir)).unwrap() || disk.metadata(&path(dir)).unwrap().len < SIZE / 2 {
        append(&host(&disk), dir, &entry(n)).unwrap();
        n += 1;
    }
    // The server, or the power, goes at each change on the way.
    for (step, power) in (1..20).flat_map(|step| [(step, false), (step, true)]) {
        let files = disk.fork();
        files.inject(Fault::power_off(step));
        let turned = append(&host(&files), dir, &entry(n));
        files.clear_faults();
        let files = if power { files.crash(CrashPolicy::LoseUnsynced) } else { files };
        append(&host(&files), dir, &entry(n + 1)).unwrap();
        let kept = read_ledger(&host(&files), dir).unwrap();
        let first = kept.iter().find(|entry| entry.event != "forgotten").unwrap().after.get();
        let told = kept.iter().filter(|entry| entry.event == "forgotten").map(|entry| entry.upto).max();
        assert!(first == 0 || told >= Some(Lsn::new(first)), "step {step}: {turned:?}, {told:?} < {first}");
        assert_eq!(kept.last(), Some(&entry(n + 1)), "step {step}");
    }
}

#[test]
fn a_torn_entry_at_the_end_of_a_full_ledger_is_told_in_the_next_one() {
    let (host, dir) = folder();
    let full = "x".repeat(SIZE as usize / 2);
    std::fs::write(path(dir.path()), full).unwrap();
    append(&host, dir.path(), &entry(1)).unwrap();
    let kept = read_ledger(&host, dir.path()).unwrap();
    assert_eq!(kept.iter().map(|entry| entry.event.as_str()).collect::<Vec<_>>(), ["torn", "released"]);
    assert!(!std::fs::read_to_string(path(dir.path())).unwrap().starts_with('\n'));
}

#[test]
fn the_ledger_keeps_within_its_size_and_says_what_it_forgot() {
    let (host, dir) = folder();
    const COUNT: u64 = 5000;
    for n in 0..COUNT {
        append(&host, dir.path(), &entry(n)).unwrap();
        let bytes = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        let all = bytes(path(dir.path())) + bytes(old_path(dir.path()));
        assert!(all <= SIZE + 2 * 1100, "{all} bytes after {n}");
    }
    let kept = read_ledger(&host, dir.path()).unwrap();
    assert_eq!(kept.last(), Some(&entry(COUNT - 1)));
    let (forgotten, events): (Vec<_>, Vec<_>) = kept.iter().partition(|entry| entry.event == "forgotten");
    let first = events[0].after.get();
    assert_eq!(events.len() as u64, COUNT - first, "no gap");
    // Each tells of the file before the last one, which may have begun with such a line itself.
    assert!(forgotten.last().unwrap().upto >= Lsn::new(first), "{forgotten:?}");
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let (host, dir) = folder();
    let long = LedgerEntry { reason: "ö".repeat(5000), ..entry(1) };
    append(&host, dir.path(), &long).unwrap();
    assert_eq!(read_ledger(&host, dir.path()).unwrap()[0].reason, "ö".repeat(500));
}
