//! What the virtual disk promises to crash tests.

use super::*;
use host::SharedFile;
use host::{durable_rename, write_file_durably};
use std::collections::HashSet;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn create(disk: &VirtualDisk, name: &str) -> SharedFile {
    Disk::open(disk, path(name), OpenMode::Create).unwrap()
}

fn contents(disk: &VirtualDisk, name: &str) -> Vec<u8> {
    disk.read(path(name), 1 << 20).unwrap()
}

/// A disk with one durable file of this many bytes of `old`.
fn disk_with(old: u8, len: usize) -> (VirtualDisk, SharedFile) {
    let disk = VirtualDisk::new();
    let file = create(&disk, "/file");
    file.write_all_at(&vec![old; len], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path("/")).unwrap();
    (disk, file)
}

#[test]
fn what_was_synced_survives_every_policy() {
    let (disk, _file) = disk_with(7, 10_000);
    for seed in 0..100 {
        for policy in [
            CrashPolicy::LoseUnsynced,
            CrashPolicy::KeepAll,
            CrashPolicy::InOrder { seed },
            CrashPolicy::Anything { seed },
        ] {
            assert_eq!(contents(&disk.crash(policy), "/file"), vec![7; 10_000], "{policy:?}");
        }
    }
}

#[test]
fn unsynced_writes_are_lost_kept_or_torn_at_sectors() {
    let (disk, file) = disk_with(1, 4096);
    file.write_all_at(&[2; 4096], 0).unwrap();
    assert_eq!(contents(&disk.crash(CrashPolicy::LoseUnsynced), "/file"), vec![1; 4096]);
    assert_eq!(contents(&disk.crash(CrashPolicy::KeepAll), "/file"), vec![2; 4096]);
    let mut torn = 0;
    for seed in 0..200 {
        let bytes = contents(&disk.crash(CrashPolicy::Anything { seed }), "/file");
        assert_eq!(bytes.len(), 4096);
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole, seed {seed}");
        }
        torn += usize::from(bytes.contains(&1) && bytes.contains(&2));
    }
    assert!(torn > 20, "{torn} of 200 crashes tore the write");
}

#[test]
fn a_later_write_can_survive_an_earlier_one() {
    let (disk, file) = disk_with(0, 8192);
    file.write_all_at(&[1; 512], 0).unwrap();
    file.write_all_at(&[2; 512], 4096).unwrap();
    let reordered = (0..200).any(|seed| {
        let bytes = contents(&disk.crash(CrashPolicy::Anything { seed }), "/file");
        bytes[0] == 0 && bytes[4096] == 2
    });
    assert!(reordered);
    for seed in 0..200 {
        let bytes = contents(&disk.crash(CrashPolicy::InOrder { seed }), "/file");
        assert!(bytes[0] == 1 || bytes[4096] == 0, "in order, seed {seed}");
    }
}

#[test]
fn a_name_needs_a_sync_of_its_folder() {
    let disk = VirtualDisk::new();
    let file = create(&disk, "/new");
    file.write_all_at(b"bytes", 0).unwrap();
    file.sync().unwrap();
    assert!(!disk.crash(CrashPolicy::LoseUnsynced).exists(path("/new")).unwrap());
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(contents(&disk.crash(CrashPolicy::LoseUnsynced), "/new"), b"bytes");
    disk.rename(path("/new"), path("/renamed")).unwrap();
    let after = disk.crash(CrashPolicy::LoseUnsynced);
    assert!(after.exists(path("/new")).unwrap() && !after.exists(path("/renamed")).unwrap());
    disk.remove_file(path("/renamed")).unwrap();
    assert!(disk.crash(CrashPolicy::LoseUnsynced).exists(path("/new")).unwrap());
    disk.sync_dir(path("/")).unwrap();
    assert!(!disk.crash(CrashPolicy::LoseUnsynced).exists(path("/new")).unwrap());
}

#[test]
fn bytes_are_durable_where_a_power_cut_leaves_them_under_their_name() {
    let (disk, file) = disk_with(1, 4096);
    let is_durable = |name: &str, range| disk.is_durable(path(name), range).unwrap();
    assert!(is_durable("/file", 0..4096));
    file.write_all_at(&[2; 100], 1000).unwrap();
    file.write_all_at(&[1; 512], 2048).unwrap();
    assert!(is_durable("/file", 0..1000) && !is_durable("/file", 900..1001));
    assert!(is_durable("/file", 1100..4096), "the same bytes written again are no change");
    file.write_all_at(&[1; 10], 4096).unwrap();
    assert!(!is_durable("/file", 4000..4100), "nor is its length");
    disk.rename(path("/file"), path("/other")).unwrap();
    assert_eq!(disk.read_durable(path("/file")), Some(vec![1; 4096]));
    assert_eq!(disk.read_durable(path("/other")), None);
    file.sync().unwrap();
    assert!(!is_durable("/other", 0..4096), "the name is not");
    assert!(disk.is_durable(path("/file"), 0..1).is_err());
    disk.sync_dir(path("/")).unwrap();
    assert!(is_durable("/other", 0..4106));
    // A copy that takes the name: whichever of both is found, the bytes are there.
    let copy = create(&disk, "/copy");
    copy.write_all_at(&disk.read_durable(path("/other")).unwrap(), 0).unwrap();
    disk.rename(path("/copy"), path("/other")).unwrap();
    assert!(!is_durable("/other", 0..4106), "the copy is not");
    copy.sync().unwrap();
    assert!(is_durable("/other", 0..4106));
    copy.write_all_at(&[9], 7).unwrap();
    copy.sync().unwrap();
    assert!(!is_durable("/other", 0..8), "what stood there before has other bytes");
}

#[test]
fn a_rename_without_a_sync_of_the_file_can_leave_it_empty() {
    let disk = VirtualDisk::new();
    create(&disk, "/a").write_all_at(b"bytes", 0).unwrap();
    disk.rename(path("/a"), path("/b")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(contents(&disk.crash(CrashPolicy::LoseUnsynced), "/b"), b"");
}

#[test]
fn two_names_of_a_file_have_the_same_bytes_and_each_is_durable_by_itself() {
    let (disk, _file) = disk_with(1, 512);
    disk.link_file(path("/file"), path("/second")).unwrap();
    let again = disk.link_file(path("/file"), path("/second"));
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(disk.link_file(path("/none"), path("/third")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(disk.is_one_file(path("/file"), path("/second")).unwrap());
    let names = |path| disk.metadata(path).unwrap().names;
    assert_eq!((names(path("/file")), names(path("/second")), names(path("/"))), (2, 2, 1));
    let second = Disk::open(&disk, path("/second"), OpenMode::ReadWrite).unwrap();
    second.write_all_at(&[2; 512], 0).unwrap();
    second.sync().unwrap();
    assert_eq!(contents(&disk, "/file"), [2; 512]);
    let cut = disk.crash(CrashPolicy::LoseUnsynced);
    assert!(!cut.exists(path("/second")).unwrap(), "its name was not synced");
    assert_eq!(contents(&cut, "/file"), [2; 512], "the bytes were");
    disk.sync_dir(path("/")).unwrap();
    let cut = disk.crash(CrashPolicy::LoseUnsynced);
    assert!(cut.is_one_file(path("/file"), path("/second")).unwrap());
    // Who replaces one of the names leaves the other.
    create(&cut, "/new").write_all_at(&[3; 512], 0).unwrap();
    cut.rename(path("/new"), path("/file")).unwrap();
    assert!(!cut.is_one_file(path("/file"), path("/second")).unwrap());
    assert_eq!((contents(&cut, "/file"), contents(&cut, "/second")), (vec![3; 512], vec![2; 512]));
    cut.remove_file(path("/second")).unwrap();
    assert_eq!(contents(&cut, "/file"), [3; 512]);
}

#[test]
fn a_file_replaced_durably_is_the_old_or_the_new_one_in_every_crash() {
    let disk = VirtualDisk::new();
    write_file_durably(&disk, path("/file"), b"old").unwrap();
    let states = Arc::new(Mutex::new(vec![disk.fork()]));
    let sink = states.clone();
    disk.observe(Box::new(move |_, moment| sink.lock().push(moment.fork())));
    write_file_durably(&disk, path("/file"), b"new one").unwrap();
    disk.stop_observing();
    let states = std::mem::take(&mut *states.lock());
    assert!(states.len() > 4, "create, write, sync, rename, sync of the folder");
    let mut seen = HashSet::new();
    for state in &states {
        for seed in 0..50 {
            seen.insert(contents(&state.crash(CrashPolicy::Anything { seed }), "/file"));
        }
    }
    assert_eq!(seen, HashSet::from([b"old".to_vec(), b"new one".to_vec()]));
    let last = states.last().unwrap().crash(CrashPolicy::LoseUnsynced);
    assert_eq!(contents(&last, "/file"), b"new one");
}

#[test]
fn a_failed_sync_drops_the_dirty_data_and_the_next_one_lies() {
    let (disk, file) = disk_with(1, 512);
    file.write_all_at(&[2; 512], 0).unwrap();
    disk.inject(Fault::once(Call::Sync, "file", 1, FaultKind::Io));
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(file.sync().ok(), Some(()), "the second one succeeds");
    assert_eq!(contents(&disk, "/file"), vec![2; 512], "programs still see the new bytes");
    assert_eq!(contents(&disk.crash(CrashPolicy::KeepAll), "/file"), vec![1; 512], "the disk never got them");
}

#[test]
fn faults_hit_the_nth_call_on_their_path() {
    let (disk, file) = disk_with(1, 512);
    let other = create(&disk, "/other");
    disk.inject(Fault::once(Call::Write, "file", 2, FaultKind::NoSpace));
    file.write_all_at(&[2], 0).unwrap();
    other.write_all_at(&[2], 0).unwrap();
    assert_eq!(file.write_all_at(&[3], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_all_at(&[4], 0).unwrap();
    disk.inject(Fault::once(Call::Write, "other", 1, FaultKind::Short(1)));
    assert_eq!(other.write_at(&[5; 4], 0).unwrap(), 1);
    disk.inject(Fault::power_off(2));
    file.write_all_at(&[6], 0).unwrap();
    assert!(file.write_all_at(&[7], 0).is_err() && file.sync().is_err() && disk.list(path("/")).is_err());
    disk.clear_faults();
    assert_eq!(contents(&disk, "/file")[0], 6);
}

#[test]
fn capacity_is_the_sum_of_the_files() {
    let (disk, file) = disk_with(1, 1000);
    disk.set_capacity(1500);
    assert!(file.allocate(0, 1500).is_ok());
    assert_eq!(file.truncate(1501).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(create(&disk, "/b").write_at(&[1], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.remove_file(path("/b")).unwrap();
    file.truncate(10).unwrap();
    assert_eq!(create(&disk, "/b").write_at(&[1; 1000], 0).unwrap(), 1000);
    assert!(create(&disk, "/c").write_at(&[1; 500], 0).is_err());
    disk.remove_file(path("/b")).unwrap();
    assert_eq!(create(&disk, "/c").write_at(&[1; 500], 0).unwrap(), 500);
}

#[test]
fn equal_images_have_equal_hashes_and_every_bit_counts() {
    let (disk, file) = disk_with(0, 9000);
    let hash = disk.image_hash();
    assert_eq!(disk_with(0, 9000).0.image_hash(), hash, "zeros written are zeros");
    assert_ne!(disk_with(0, 9001).0.image_hash(), hash);
    let mut seen = HashSet::from([hash]);
    for bit in 0..64 {
        assert!(disk.flip_bit(path("/file"), 4000 + u64::from(bit), bit % 8).unwrap());
        assert!(seen.insert(disk.image_hash()), "bit {bit}");
    }
    assert_eq!(contents(&disk.crash(CrashPolicy::LoseUnsynced), "/file")[4000], 1, "decay is durable");
    let before = disk.image_hash();
    let copy = disk.fork();
    file.write_all_at(b"x", 0).unwrap();
    assert_eq!(copy.image_hash(), before, "a copy does not see later changes");
    copy.rename(path("/file"), path("/elif")).unwrap();
    assert_ne!(copy.image_hash(), before, "names count");
}

#[test]
fn the_trace_lists_the_places_for_faults() {
    let disk = VirtualDisk::new();
    disk.start_trace();
    let file = create(&disk, "/t.tmp");
    file.write_all_at(b"x", 0).unwrap();
    drop(file);
    durable_rename(&disk, path("/t.tmp"), path("/t")).unwrap();
    let calls: Vec<_> = disk.take_trace().into_iter().map(|operation| operation.call).collect();
    assert_eq!(calls, [Call::Create, Call::Write, Call::Open, Call::Sync, Call::Rename, Call::SyncDir]);
    assert_eq!(disk.changes(), 5);
}

#[test]
fn folders_behave_as_on_a_real_disk() {
    let disk = VirtualDisk::new();
    disk.create_dir_all(path("/data/pg_wal")).unwrap();
    create(&disk, "/data/pg_wal/x");
    let kind = |error: io::Error| error.kind();
    assert_eq!(kind(disk.create_dir(path("/data")).unwrap_err()), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create_dir(path("/no/such")).unwrap_err()), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.remove_dir(path("/data")).unwrap_err()), io::ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(disk.remove_file(path("/data")).unwrap_err()), io::ErrorKind::IsADirectory);
    assert_eq!(kind(disk.list(path("/data/pg_wal/x")).unwrap_err()), io::ErrorKind::NotADirectory);
    let new = Disk::open(&disk, path("/data/pg_wal/x"), OpenMode::CreateNew);
    assert_eq!(kind(new.unwrap_err()), io::ErrorKind::AlreadyExists);
    disk.rename(path("/data/pg_wal/x"), path("/data/y")).unwrap();
    let names: Vec<_> = disk.list(path("/data")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["pg_wal", "y"]);
    let lock = disk.lock(path("/data/y")).unwrap();
    assert_eq!(kind(disk.lock(path("/data/y")).unwrap_err()), io::ErrorKind::WouldBlock);
    drop(lock);
    disk.lock(path("/data/y")).unwrap();
    let read_only = Disk::open(&disk, path("/data/y"), OpenMode::Read).unwrap();
    assert!(read_only.write_at(b"x", 0).is_err());
}

#[test]
fn an_exported_folder_comes_back_the_same() {
    let (disk, file) = disk_with(3, 5000);
    disk.create_dir_all(path("/sub/deep")).unwrap();
    create(&disk, "/sub/deep/empty");
    file.truncate(6000).unwrap();
    let real = std::env::temp_dir().join(format!("virtual-disk-test-{}", std::process::id()));
    std::fs::create_dir(&real).unwrap();
    let exported = disk.export(path("/"), &real);
    let back = VirtualDisk::new();
    let imported = back.import(&real, path("/"));
    std::fs::remove_dir_all(&real).unwrap();
    exported.unwrap();
    imported.unwrap();
    assert_eq!(back.image_hash(), disk.image_hash());
    assert_eq!(back.crash(CrashPolicy::LoseUnsynced).image_hash(), disk.image_hash(), "an import is durable");
}

#[test]
fn a_sync_makes_durable_what_programs_see_and_a_power_cut_knows_what_it_did_not() {
    let mut random = fastrand::Rng::with_seed(5);
    for run in 0..300 {
        let disk = VirtualDisk::new();
        let file = create(&disk, "/file");
        disk.sync_dir(path("/")).unwrap();
        for _ in 0..40 {
            let offset = random.u64(..20_000) & !(if random.bool() { 4095 } else { 0 });
            let len = random.choice([10, 4096, 8192, 9000]).unwrap();
            match random.u8(..5) {
                0 => file.truncate(offset).unwrap(),
                1 => file.write_all_at(&vec![0; len], offset).unwrap(),
                2 | 3 => file.write_all_at(&vec![random.u8(..); len], offset).unwrap(),
                _ => {
                    file.sync().unwrap();
                    let after = disk.crash(CrashPolicy::LoseUnsynced);
                    assert_eq!(after.image_hash(), disk.image_hash(), "run {run}");
                }
            }
            let after = contents(&disk.crash(CrashPolicy::LoseUnsynced), "/file");
            let (begin, end) = (random.usize(..20_000), random.usize(..20_000));
            let part = |bytes: &[u8]| {
                bytes[begin.min(bytes.len())..]
                    .iter()
                    .take(end.saturating_sub(begin))
                    .copied()
                    .collect::<Vec<u8>>()
            };
            let durable = disk.is_durable(path("/file"), begin as u64..end as u64).unwrap();
            assert_eq!(durable, part(&after) == part(&contents(&disk, "/file")), "run {run}");
        }
    }
}
