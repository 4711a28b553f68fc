#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use super::unpack::{Part, Unpacked, Unpacker};
use super::*;
use crate::manifest::checksum::FileChecksum;
use crate::manifest::{FileEntry, ManifestWriter, Problem};
use bytes::Bytes;
use host::{DirEntry, Disk, OpenMode, Timestamp};
use simulation::{Hooks, VirtualDisk, WrappedDisk};
use std::io;
use std::sync::Arc;
use tar::{EntryType, Header};

const FILES: [(&str, &[u8]); 5] = [
    ("backup_label", b"label"),
    ("PG_VERSION", b"15\n"),
    ("base/5/16384", &[7; 20_000]),
    ("empty", b""),
    ("global/pg_control", &[9; 8192]),
];

fn append(archive: &mut Vec<u8>, path: &str, kind: EntryType, contents: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_path(path).unwrap();
    header.set_entry_type(kind);
    header.set_size(contents.len() as u64);
    header.set_mode(0o600);
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(contents);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fn archive() -> Vec<u8> {
    let mut archive = Vec::new();
    for folder in ["base/", "base/5/", "global/"] {
        append(&mut archive, folder, EntryType::Directory, b"");
    }
    for (path, contents) in FILES {
        append(&mut archive, path, EntryType::Regular, contents);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn manifest(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ManifestWriter::new(ChecksumAlgorithm::Crc32c, false);
    for (path, contents) in files {
        let mut checksum = FileChecksum::new(ChecksumAlgorithm::Crc32c);
        checksum.update(contents);
        let checksum = checksum.finish();
        let (size_bytes, modified) = (contents.len() as u64, Timestamp::default());
        writer.add_file(FileEntry { path, size_bytes, modified, checksum: &checksum }).unwrap();
    }
    writer.finish(&[])
}

fn unpack(archive: &[u8], piece: usize) -> (Arc<VirtualDisk>, Result<Unpacked, CloneError>) {
    let disk = Arc::new(VirtualDisk::new());
    disk.create_dir_all(Path::new("/target")).unwrap();
    let mut unpacker = Unpacker::new(disk.clone(), "/target".into(), ChecksumAlgorithm::Crc32c);
    let mut parts = vec![Part::Archive("base.tar".to_owned())];
    parts.extend(archive.chunks(piece).map(|piece| Part::Data(Bytes::copy_from_slice(piece))));
    parts.push(Part::Manifest);
    parts.push(Part::Data(manifest(&FILES).into()));
    let outcome = parts.into_iter().try_for_each(|part| unpacker.take(part));
    (disk, outcome.and_then(|()| unpacker.finish()))
}

#[test]
fn an_archive_is_unpacked_alike_however_it_is_cut() {
    for piece in [1, 7, 511, 512, 513, 65_536] {
        let (disk, unpacked) = unpack(&archive(), piece);
        let unpacked = unpacked.unwrap();
        for (path, contents) in FILES {
            let path = if path == "global/pg_control" { unpack::CONTROL_HELD_BACK } else { path };
            assert_eq!(disk.read(&Path::new("/target").join(path), 1 << 20).unwrap(), contents, "{path}");
        }
        assert!(!disk.exists(Path::new("/target/global/pg_control")).unwrap(), "held back to the end");
        let manifest = Manifest::parse(&unpacked.manifest).unwrap();
        assert_eq!(unpacked.compare(&manifest), []);
    }
}

#[test]
fn each_difference_from_the_manifest_is_named() {
    let (_, unpacked) = unpack(&archive(), 65_536);
    let unpacked = unpacked.unwrap();
    let compare = |files: &[(&str, &[u8])]| unpacked.compare(&Manifest::parse(&manifest(files)).unwrap());
    let mut changed = FILES;
    changed[2].1 = &[8; 20_000];
    let path = || FILES[2].0.to_owned();
    assert_eq!(compare(&changed), [Problem::Checksum { path: path() }]);
    changed[2].1 = &[7; 19_999];
    assert_eq!(compare(&changed), [Problem::Size { path: path(), expected: 19_999, found: 20_000 }]);
    assert_eq!(compare(&FILES[..4]), [Problem::Extra { path: FILES[4].0.to_owned() }]);
    let mut more = FILES.to_vec();
    more.push(("base/5/1", b""));
    assert_eq!(compare(&more), [Problem::Missing { path: "base/5/1".to_owned() }]);
}

#[test]
fn a_damaged_archive_is_noticed_or_has_left_the_right_files() {
    let whole = archive();
    let manifest = Manifest::parse(&manifest(&FILES)).unwrap();
    let harmless = |archive: &[u8]| {
        let (disk, outcome) = unpack(archive, 65_536);
        let taken = outcome.is_ok_and(|unpacked| unpacked.compare(&manifest).is_empty());
        if taken {
            let read = |path: &str| disk.read(&Path::new("/target").join(path), 1 << 20).unwrap();
            for (path, contents) in &FILES[..4] {
                assert_eq!(read(path), *contents, "{path}");
            }
            assert_eq!(read(unpack::CONTROL_HELD_BACK), FILES[4].1);
        }
        taken
    };
    assert!(harmless(&whole));
    let taken = (0..whole.len() * 8).step_by(7).filter(|bit| {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        harmless(&damaged)
    });
    let tried = whole.len() * 8 / 7;
    let taken = taken.count();
    // Zeros that fill up blocks carry nothing; all else does.
    assert!(taken < tried / 16, "{taken} of {tried} flips were taken");
    for cut in (0..whole.len() - 1024).step_by(101) {
        assert!(!harmless(&whole[..cut]), "cut at {cut}");
    }
}

#[test]
fn entries_that_lead_astray_are_refused() {
    for (path, kind, words) in [
        ("pg_tblspc/16385", EntryType::Symlink, "tablespaces are not supported"),
        ("base/fifo", EntryType::Fifo, "unknown type"),
    ] {
        let mut bytes = Vec::new();
        append(&mut bytes, path, kind, b"");
        let error = unpack(&bytes, 512).1.unwrap_err().to_string();
        assert!(error.contains(words), "{path}: {error}");
    }
    let mut bytes = Vec::new();
    append(&mut bytes, "a/b", EntryType::Regular, b"");
    bytes[0..3].copy_from_slice(b"../");
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(&bytes[..512]);
    header.set_cksum();
    let error = unpack(header.as_bytes(), 512).1.unwrap_err().to_string();
    assert!(error.contains("the path \"../"), "{error}");
    let mut twice = Vec::new();
    append(&mut twice, "a", EntryType::Regular, b"1");
    append(&mut twice, "a", EntryType::Regular, b"2");
    assert!(unpack(&twice, 512).1.unwrap_err().to_string().contains("comes twice"));
}

#[test]
fn the_standbys_connection_string_says_all_that_the_clone_knew() {
    for (from, expected) in [
        ("host=h port=5 user=u dbname=x", "host=h port=5 user=u"),
        ("postgresql://u@h:7/db?application_name=s1", "user=u host=h port=7 application_name=s1"),
        ("host=h user='a b' password='it''s'", "host=h user='a b'"),
    ] {
        match primary_conninfo(from) {
            Ok(found) if from.contains("password") => panic!("{found}: quotes are doubled only in settings"),
            Ok(found) => {
                let sorted = |text: &str| {
                    let mut words: Vec<_> = text.split(' ').map(str::to_owned).collect();
                    words.sort();
                    words
                };
                assert_eq!(sorted(&found), sorted(expected), "{from}");
            }
            Err(error) => assert!(from.contains("''"), "{from}: {error}"),
        }
    }
    assert!(primary_conninfo("user=u").unwrap().contains("port=5432"));
    assert!(primary_conninfo("user=u\nport=7").unwrap().contains("port=7"));
    let cut = primary_conninfo("user=u application_name='a\nport=7'");
    assert!(matches!(cut, Err(CloneError::Newline)), "{cut:?}");
}

/// While files are made durable, the stream gives a segment that it has filled its name.
#[derive(Debug)]
struct StreamGoesOn;

impl StreamGoesOn {
    const NEW: &str = "/clone/pg_wal/xlogtemp.000000010000000000000003";
    const NAMED: &str = "/clone/pg_wal/000000010000000000000003";
}

impl Hooks for StreamGoesOn {
    fn list(&self, disk: &VirtualDisk, path: &Path) -> io::Result<Vec<DirEntry>> {
        let listed = disk.list(path);
        if path.ends_with("pg_wal") {
            disk.rename(Path::new(Self::NEW), Path::new(Self::NAMED))?;
        }
        listed
    }
}

#[test]
fn log_that_comes_while_the_clone_is_made_durable_does_not_fail_it() {
    let disk = WrappedDisk::new(VirtualDisk::new(), StreamGoesOn);
    disk.create_dir_all(Path::new("/clone/pg_wal")).unwrap();
    for path in [StreamGoesOn::NEW, "/clone/PG_VERSION"] {
        let file = disk.open(Path::new(path), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"contents", 0).unwrap();
        if path == StreamGoesOn::NEW {
            file.sync().unwrap();
        }
    }
    finish::complete(&disk, Path::new("/clone"), b"manifest", None).unwrap();
    let found = disk.inner.crash(simulation::CrashPolicy::LoseUnsynced);
    for path in [StreamGoesOn::NAMED, "/clone/PG_VERSION"] {
        assert_eq!(found.read(Path::new(path), 100).unwrap(), b"contents", "{path}");
    }
}

#[test]
fn a_standby_does_not_inherit_what_its_primary_says_of_its_own_recovery() {
    let disk = VirtualDisk::new();
    disk.create_dir_all(Path::new("/clone/pg_wal")).unwrap();
    for (name, text) in [
        ("postgresql.conf", "Recovery_Target_Time = '2026-01-01'\nrecovery_target_timeline = current\n"),
        (
            "postgresql.auto.conf",
            "recovery_target_name = 'x'\nrecovery_target_xid = ''\nprimary_slot_name = 'b'",
        ),
    ] {
        let file = disk.open(&Path::new("/clone").join(name), OpenMode::CreateNew).unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
    }
    let left_out = finish::complete(&disk, Path::new("/clone"), b"manifest", Some(("host=a", None))).unwrap();
    let silenced =
        ["recovery_target_timeline", "primary_slot_name", "recovery_target_name", "recovery_target_time"];
    assert_eq!(left_out, silenced);
    let read = |name: &str| disk.read_text(&Path::new("/clone").join(name), 1000).unwrap();
    assert_eq!(read("postgresql.auto.conf"), "primary_conninfo = 'host=a'\n");
    // What its owner writes behind this counts: the copy may be a backup.
    assert_eq!(
        read("postgresql.conf"),
        "Recovery_Target_Time = '2026-01-01'\nrecovery_target_timeline = current\n\
         # What stands above of these is of another recovery.\n\
         recovery_target_timeline = 'latest'\nrecovery_target_time = ''\n"
    );
}

#[test]
fn settings_that_are_a_link_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (data, shared) = (folder.path().join("data"), folder.path().join("shared.conf"));
    std::fs::create_dir_all(data.join("pg_wal")).unwrap();
    std::fs::write(&shared, "recovery_target_name = 'x'\n").unwrap();
    std::os::unix::fs::symlink(&shared, data.join("postgresql.conf")).unwrap();
    let left_out = make_standby(&host::RealDisk, &data, "host=a", None).unwrap();
    assert_eq!(left_out, ["recovery_target_name"]);
    assert_eq!(std::fs::read_to_string(&shared).unwrap(), "recovery_target_name = 'x'\n");
    let auto_conf = std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap();
    assert_eq!(auto_conf, "recovery_target_name = ''\nprimary_conninfo = 'host=a'\n");
}

#[test]
fn a_copy_does_not_say_that_it_is_where_its_source_is() {
    const SET: &str = "plimsoll.advertised_address = 'host=a'\n";
    const EMPTY: &str = "plimsoll.advertised_address = ''\n";
    const OVERRULED: &str = "# Above it is the one of the server that this one was cloned from.\n\
                             plimsoll.advertised_address = ''\n";
    let altered = format!("port = 1\n{}# x\n", SET.to_uppercase());
    for (conf, auto_conf, conf_after, auto_conf_after) in [
        // In postgresql.conf, with and without a line break at its end, or in what it includes.
        (SET.to_owned(), "port = 1\n", format!("{SET}{OVERRULED}"), "port = 1\n"),
        (SET.trim_end().to_owned(), "", format!("{SET}{OVERRULED}"), ""),
        ("include 'more.conf'\n".to_owned(), "", format!("include 'more.conf'\n{OVERRULED}"), ""),
        // By ALTER SYSTEM.
        (String::new(), altered.as_str(), String::new(), "port = 1\n# x\n"),
        // By both.
        (SET.to_owned(), SET, format!("{SET}{OVERRULED}"), ""),
        // The last one says nothing, and would say so to its owner too.
        (SET.to_owned(), EMPTY, format!("{SET}{OVERRULED}"), ""),
        ("port = 1\n".to_owned(), "", "port = 1\n".to_owned(), ""),
    ] {
        let disk = VirtualDisk::new();
        disk.create_dir_all(Path::new("/clone/pg_wal")).unwrap();
        for (name, text) in
            [("postgresql.conf", &*conf), ("postgresql.auto.conf", auto_conf), ("more.conf", SET)]
        {
            let file = disk.open(&Path::new("/clone").join(name), OpenMode::CreateNew).unwrap();
            file.write_all_at(text.as_bytes(), 0).unwrap();
        }
        let left_out = finish::complete(&disk, Path::new("/clone"), b"manifest", None).unwrap();
        let read = |name: &str| disk.read_text(&Path::new("/clone").join(name), 1000).unwrap();
        let after = (read("postgresql.conf"), read("postgresql.auto.conf"));
        assert_eq!(after, (conf_after.clone(), auto_conf_after.to_owned()), "{conf:?} {auto_conf:?}");
        let is_told = after != (conf, auto_conf.to_owned()) && auto_conf != EMPTY;
        assert_eq!(left_out, &["plimsoll.advertised_address"][usize::from(!is_told)..]);
    }
}
