#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use super::*;
use crate::manifest::{Manifest, verify_directory};
use host::Timestamp;
use host::sync::Mutex;
use protocol::replication::ChecksumAlgorithm;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use storage::page::{Page, PageKind};
use wal::BlockNumber;

const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();

/// An engine that only keeps the books.
#[derive(Default)]
struct Books(Mutex<Vec<&'static str>>);

impl BackupEngine for Books {
    async fn start(&self, label: &str, _: Duration) -> Result<BackupStart, storage::Error> {
        self.0.lock().push("start");
        Ok(BackupStart {
            start: Lsn::new(0x10_0028),
            checkpoint: Lsn::new(0x10_0060),
            timeline: TimelineId::FIRST,
            label_file: format!("LABEL: {label}\n"),
            started: Timestamp::default(),
            label: label.to_owned(),
            on_standby: false,
        })
    }
    async fn stop(&self, _: BackupStart, _: &Notes) -> Result<BackupEnd, storage::Error> {
        self.0.lock().push("stop");
        Ok(BackupEnd { stop: Lsn::new(0x20_0100), timeline: TimelineId::FIRST, history_file: None })
    }
    fn abort(&self, _: BackupStart) {
        self.0.lock().push("abort");
    }
}

/// Keeps what comes; fails after `most` events.
struct Kept {
    events: Vec<BackupEvent>,
    most: usize,
}

impl BackupSink for Kept {
    type Error = io::Error;
    async fn send(&mut self, event: BackupEvent) -> Result<(), io::Error> {
        if self.events.len() == self.most {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.events.push(event);
        Ok(())
    }
    async fn gone(&mut self) -> io::Error {
        std::future::pending().await
    }
}

impl Kept {
    fn data(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut archive, mut manifest, mut in_manifest) = (Vec::new(), Vec::new(), false);
        for event in &self.events {
            match event {
                BackupEvent::Manifest => in_manifest = true,
                BackupEvent::Data(bytes) if in_manifest => manifest.extend_from_slice(bytes),
                BackupEvent::Data(bytes) => archive.extend_from_slice(bytes),
                _ => {}
            }
        }
        (archive, manifest)
    }
}

fn put(directory: &Path, path: &str, contents: &[u8]) {
    let path = directory.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, contents).unwrap();
}

fn page(lsn: u64, block: u32) -> Vec<u8> {
    let mut page = Page::boxed();
    page.init(PageKind::Leaf, 0, BlockNumber::INVALID);
    page.set_lsn(Lsn::new(lsn));
    page.seal(BlockNumber::new(block), true);
    page.bytes().to_vec()
}

fn data_directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (path, contents) in [
        ("PG_VERSION", &b"15\n"[..]),
        ("postgresql.conf", b""),
        ("base/5/PG_VERSION", b"15\n"),
        ("global/pg_control", &[3; 8192]),
        ("global/pgsql_tmp.pg_control", b"x"),
        ("postmaster.pid", b"1"),
        ("backup_manifest", b"old"),
        ("plimsoll/fence", b"here"),
        ("pg_wal/000000010000000000000001", &[1; 1 << 20]),
        ("pg_wal/000000010000000000000002", &[2; 1 << 20]),
        ("pg_wal/archive_status/000000010000000000000001.ready", b""),
        ("pg_replslot/one/state", b"s"),
        ("base/5/16390", b"unlogged"),
        ("base/5/16390_init", b""),
        ("base/5/t3_16400", b"temporary"),
    ] {
        put(root, path, contents);
    }
    let mut relation = page(100, 0);
    relation.extend_from_slice(&page(200, 1));
    relation.extend_from_slice(&[0; 8192]);
    put(root, "base/5/16384", &relation);
    put(root, "base/5/16384.1", &page(100, 131_072));
    folder
}

fn source(directory: &Path) -> BackupSource {
    BackupSource::new(Host::real(), directory, SIZE, true)
}

fn options() -> BaseBackupOptions {
    BaseBackupOptions { manifest: ManifestMode::Yes, progress: true, ..BaseBackupOptions::default() }
}

async fn backup(
    directory: &Path,
    options: &BaseBackupOptions,
    most: usize,
) -> (Kept, Books, Result<BackupEnd, BackupError<io::Error>>) {
    let (books, mut kept) = (Books::default(), Kept { events: Vec::new(), most });
    let outcome = send_backup(&source(directory), options, &books, &mut kept).await;
    (kept, books, outcome)
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

#[tokio::test]
async fn the_archive_holds_what_belongs_into_a_backup_and_the_control_file_last() {
    let directory = data_directory();
    let (kept, books, outcome) = backup(directory.path(), &options(), usize::MAX).await;
    assert_eq!(outcome.unwrap().stop, Lsn::new(0x20_0100));
    assert_eq!(*books.0.lock(), ["start", "stop"]);
    let (archive, _) = kept.data();
    assert_eq!(
        names(&archive),
        [
            "backup_label",
            "PG_VERSION",
            "base/",
            "base/5/",
            "base/5/16384",
            "base/5/16384.1",
            "base/5/16390_init",
            "base/5/PG_VERSION",
            "global/",
            "pg_replslot/",
            "pg_wal/",
            "pg_wal/archive_status/",
            "postgresql.conf",
            "global/pg_control",
        ]
    );
    let shape: Vec<_> =
        kept.events.iter().filter(|event| !matches!(event, BackupEvent::Data(_))).cloned().collect();
    let sent_bytes = archive.len() as u64;
    let timeline = TimelineId::FIRST;
    assert_eq!(
        shape,
        [
            BackupEvent::Start { lsn: Lsn::new(0x10_0028), timeline },
            BackupEvent::Size { kilobytes: Some((sent_bytes - 1024) / 1024) },
            BackupEvent::Archive { name: "base.tar" },
            BackupEvent::Progress { sent_bytes },
            BackupEvent::Manifest,
            BackupEvent::End { lsn: Lsn::new(0x20_0100), timeline },
            BackupEvent::Sound,
        ]
    );
}

#[tokio::test]
async fn pg_verifybackup_accepts_what_is_unpacked_with_every_checksum() {
    let directory = data_directory();
    for (algorithm, manifest_mode) in [
        (ChecksumAlgorithm::None, ManifestMode::Yes),
        (ChecksumAlgorithm::Crc32c, ManifestMode::ForceEncode),
        (ChecksumAlgorithm::Sha224, ManifestMode::Yes),
        (ChecksumAlgorithm::Sha256, ManifestMode::Yes),
        (ChecksumAlgorithm::Sha384, ManifestMode::Yes),
        (ChecksumAlgorithm::Sha512, ManifestMode::Yes),
    ] {
        let options =
            BaseBackupOptions { manifest: manifest_mode, manifest_checksums: algorithm, ..options() };
        let (kept, _, outcome) = backup(directory.path(), &options, usize::MAX).await;
        outcome.unwrap();
        let (archive, manifest) = kept.data();
        let target = tempfile::tempdir().unwrap();
        tar::Archive::new(&archive[..]).unpack(target.path()).unwrap();
        let read = Manifest::parse(&manifest).unwrap();
        assert_eq!(verify_directory(&host::RealDisk, target.path(), &read).unwrap(), []);
        std::fs::write(target.path().join("backup_manifest"), &manifest).unwrap();
        // -n: the log here is none that could be parsed.
        let verify = |path: &Path| {
            let tool = std::process::Command::new("/usr/lib/postgresql/15/bin/pg_verifybackup")
                .args(["-n", path.to_str().unwrap()])
                .output()
                .unwrap_or_else(|error| panic!("PostgreSQL 15 must be installed: {error}"));
            (tool.status.success(), String::from_utf8_lossy(&tool.stderr).into_owned())
        };
        assert_eq!(verify(target.path()), (true, String::new()), "{algorithm:?}");
        // It would have noticed.
        std::fs::write(target.path().join("PG_VERSION"), "16\n").unwrap();
        assert_eq!(verify(target.path()).0, algorithm == ChecksumAlgorithm::None, "{algorithm:?}");
    }
}

#[tokio::test]
async fn the_log_travels_along_when_asked_for_and_a_missing_segment_is_an_error() {
    let directory = data_directory();
    let options = BaseBackupOptions { wal: true, ..options() };
    let (kept, _, outcome) = backup(directory.path(), &options, usize::MAX).await;
    outcome.unwrap();
    let (archive, manifest) = kept.data();
    let names = names(&archive);
    // The backup ends within the second.
    for (name, is_whole) in [("000000010000000000000001", true), ("000000010000000000000002", false)] {
        assert!(names.contains(&format!("pg_wal/{name}")), "{names:?}");
        let mark = format!("pg_wal/archive_status/{name}.done");
        assert_eq!(names.contains(&mark), is_whole, "{names:?}");
    }
    assert!(Manifest::parse(&manifest).unwrap().files.keys().all(|path| !path.starts_with("pg_wal")));
    std::fs::remove_file(directory.path().join("pg_wal/000000010000000000000002")).unwrap();
    let (_, _, outcome) = backup(directory.path(), &options, usize::MAX).await;
    assert!(matches!(outcome, Err(BackupError::MissingWal(name)) if name.ends_with('2')));
    std::fs::remove_file(directory.path().join("pg_wal/000000010000000000000001")).unwrap();
    let (_, _, outcome) = backup(directory.path(), &options, usize::MAX).await;
    assert!(matches!(outcome, Err(BackupError::RemovedWal(name)) if name.ends_with('1')));
}

/// Bytes of a later part of the log.
const LATER: [u8; 64] = [b'Z'; 64];

/// A client slow enough for what a checkpoint does meanwhile: when the first segment begins to come, that is
/// renamed for later use and written over.
struct Recycling {
    pg_wal: PathBuf,
    is_done: bool,
    foreign: bool,
}

impl BackupSink for Recycling {
    type Error = io::Error;
    async fn send(&mut self, event: BackupEvent) -> Result<(), io::Error> {
        let BackupEvent::Data(bytes) = event else { return Ok(()) };
        self.foreign |= bytes.windows(LATER.len()).any(|part| part == LATER);
        let name = b"pg_wal/000000010000000000000001\0";
        if !self.is_done && bytes.windows(name.len()).any(|part| part == name) {
            self.is_done = true;
            let ahead = self.pg_wal.join("000000010000000000000005");
            std::fs::rename(self.pg_wal.join("000000010000000000000001"), &ahead)?;
            let file = std::fs::OpenOptions::new().write(true).open(ahead)?;
            std::os::unix::fs::FileExt::write_all_at(&file, &LATER.repeat((1 << 20) / LATER.len()), 0)?;
        }
        Ok(())
    }
    async fn gone(&mut self) -> io::Error {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_segment_that_is_recycled_while_it_is_sent_fails_the_backup_and_no_foreign_byte_goes_out() {
    let directory = data_directory();
    let pg_wal = directory.path().join("pg_wal");
    let mut sink = Recycling { pg_wal, is_done: false, foreign: false };
    let options = BaseBackupOptions { wal: true, ..options() };
    let outcome = send_backup(&source(directory.path()), &options, &Books::default(), &mut sink).await;
    assert!(sink.is_done && !sink.foreign);
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "requested WAL segment 000000010000000000000001 has already been removed");
    assert_eq!(error.sqlstate(), Some(SqlState::UNDEFINED_FILE));
}

#[tokio::test]
async fn what_cannot_be_sent_is_left_out_and_told() {
    let directory = data_directory();
    let root = directory.path();
    put(root, "conf.d/10.conf", b"");
    for link in ["pg_hba.conf", "conf.d/20.conf", "global/pgsql_tmp.1"] {
        std::os::unix::fs::symlink("/dev/null", root.join(link)).unwrap();
    }
    std::os::unix::fs::symlink("elsewhere", root.join("base/6")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join(".s.PGSQL.5432")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"conf.d/caf\xE9");
    std::fs::write(root.join(odd), b"x").unwrap();
    let (kept, _, outcome) = backup(root, &options(), usize::MAX).await;
    outcome.unwrap();
    let warnings: Vec<_> = kept
        .events
        .iter()
        .filter_map(|event| match event {
            BackupEvent::Warning(message) => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(
        warnings,
        [
            "skipping special file \"./.s.PGSQL.5432\"",
            "skipping special file \"./pg_hba.conf\"",
            "skipping special file \"./base/6\"",
            "skipping special file \"./conf.d/20.conf\"",
            "skipping file \"./conf.d/caf\\xE9\": its name is not UTF-8",
        ]
    );
    let names = names(&kept.data().0);
    assert!(names.iter().any(|name| name == "conf.d/10.conf"), "{names:?}");
    let left_out = ["pg_hba", "20.conf", "caf", ".s.", "base/6"];
    assert!(names.iter().all(|name| left_out.iter().all(|part| !name.contains(part))), "{names:?}");
}

#[tokio::test]
async fn a_bad_page_fails_the_backup_at_its_end_unless_it_is_newer_than_its_start_or_nobody_asks() {
    let directory = data_directory();
    let mut bad = page(100, 0);
    bad.extend_from_slice(&page(200, 1));
    bad[8192 + 4000] ^= 1;
    put(directory.path(), "base/5/16384", &bad);
    let (kept, books, outcome) = backup(directory.path(), &options(), usize::MAX).await;
    match outcome {
        Err(error @ BackupError::Checksum { pages: 1, files: 1, block: 1, .. }) => {
            assert_eq!(error.sqlstate(), Some(SqlState::DATA_CORRUPTED));
        }
        other => panic!("{other:?}"),
    }
    // All of it was sent, for who wants what is left.
    assert_eq!(*books.0.lock(), ["start", "stop"]);
    assert!(matches!(kept.events.last(), Some(BackupEvent::End { .. })), "{:?}", kept.events.last());
    let unasked = BaseBackupOptions { verify_checksums: false, ..options() };
    assert!(backup(directory.path(), &unasked, usize::MAX).await.2.is_ok());
    let mut newer = page(0x10_0028, 0);
    newer[4000] ^= 1;
    put(directory.path(), "base/5/16384", &newer);
    assert!(backup(directory.path(), &options(), usize::MAX).await.2.is_ok());
}

#[tokio::test]
async fn a_client_that_goes_away_gives_the_backup_up_at_any_event() {
    let directory = data_directory();
    let (kept, _, _) = backup(directory.path(), &options(), usize::MAX).await;
    for most in 0..kept.events.len() {
        let (_, books, outcome) = backup(directory.path(), &options(), most).await;
        assert!(matches!(outcome, Err(BackupError::Sink(_))), "after {most} events");
        let books = books.0.lock();
        assert!(*books == ["start", "abort"] || *books == ["start", "stop"], "{books:?}");
    }
}

/// An engine that never comes to the end of one part of its work, which it has noted something of.
struct Waits {
    books: Books,
    part: &'static str,
}

impl Waits {
    async fn wait(&self, part: &'static str) {
        if part == self.part {
            self.books.0.lock().push("wait");
            std::future::pending().await
        }
    }
}

impl BackupEngine for Waits {
    async fn start(&self, label: &str, spread: Duration) -> Result<BackupStart, storage::Error> {
        self.wait("start").await;
        self.books.start(label, spread).await
    }
    async fn stop(&self, backup: BackupStart, notes: &Notes) -> Result<BackupEnd, storage::Error> {
        for word in ["first", "second"] {
            notes.send(Report::notice(word)).await.unwrap();
        }
        self.wait("stop").await;
        notes.send(Report::notice("last")).await.unwrap();
        self.books.stop(backup, notes).await
    }
    fn abort(&self, backup: BackupStart) {
        self.books.abort(backup);
    }
}

/// A client that leaves while nothing is sent to it.
struct Leaving<'a> {
    kept: Kept,
    engine: &'a Waits,
}

impl BackupSink for Leaving<'_> {
    type Error = io::Error;
    async fn send(&mut self, event: BackupEvent) -> Result<(), io::Error> {
        self.kept.send(event).await
    }
    async fn gone(&mut self) -> io::Error {
        let waits = self.engine.books.0.lock().contains(&"wait");
        if waits { io::ErrorKind::ConnectionReset.into() } else { std::future::pending().await }
    }
}

async fn backup_with(engine: &Waits) -> (Vec<BackupEvent>, Result<BackupEnd, BackupError<io::Error>>) {
    let directory = data_directory();
    let kept = Kept { events: Vec::new(), most: usize::MAX };
    let mut sink = Leaving { kept, engine };
    let outcome = send_backup(&source(directory.path()), &options(), engine, &mut sink).await;
    (sink.kept.events, outcome)
}

#[tokio::test]
async fn a_backup_whose_client_has_gone_waits_for_nothing_more() {
    for (part, books) in [("start", &["wait"][..]), ("stop", &["start", "wait"])] {
        let engine = Waits { books: Books::default(), part };
        let (_, outcome) = backup_with(&engine).await;
        assert!(matches!(outcome, Err(BackupError::Sink(_))), "{part}: {outcome:?}");
        assert_eq!(*engine.books.0.lock(), books, "{part}");
    }
}

#[tokio::test]
async fn what_the_end_of_a_backup_waits_for_is_told_between_messages_of_the_copy() {
    let engine = Waits { books: Books::default(), part: "" };
    let (events, outcome) = backup_with(&engine).await;
    outcome.unwrap();
    let mut told = Vec::new();
    for (at, event) in events.iter().enumerate() {
        if let BackupEvent::Note(report) = event {
            told.push(report.message.as_str());
            assert!(matches!(events[at + 1], BackupEvent::Progress { .. }), "{:?}", events[at + 1]);
        }
    }
    assert_eq!(told, ["first", "second", "last"]);
}

#[tokio::test]
async fn what_is_absent_is_refused_before_anything_starts() {
    let directory = data_directory();
    for options in [
        BaseBackupOptions { target: BaseBackupTarget::Blackhole, ..options() },
        BaseBackupOptions { target: BaseBackupTarget::Server("/x".to_owned()), ..options() },
        BaseBackupOptions { compression: Some(("gzip".to_owned(), None)), ..options() },
    ] {
        let (_, books, outcome) = backup(directory.path(), &options, usize::MAX).await;
        assert_eq!(outcome.unwrap_err().sqlstate(), Some(SqlState::FEATURE_NOT_SUPPORTED));
        assert!(books.0.lock().is_empty());
    }
}

#[test]
fn messages_are_those_of_the_manual() {
    use bytes::BytesMut;
    let bytes = |event: BackupEvent| {
        let mut out = BytesMut::new();
        wire::encode(&event, &mut out);
        out.to_vec()
    };
    assert_eq!(bytes(BackupEvent::Archive { name: "base.tar" }), b"d\0\0\0\x0Fnbase.tar\0\0");
    assert_eq!(bytes(BackupEvent::Data(Bytes::from_static(b"xy"))), b"d\0\0\0\x07dxy");
    assert_eq!(bytes(BackupEvent::Manifest), b"d\0\0\0\x05m");
    assert_eq!(bytes(BackupEvent::Progress { sent_bytes: 258 }), b"d\0\0\0\x0Dp\0\0\0\0\0\0\x01\x02");
    let start = bytes(BackupEvent::Start { lsn: Lsn::new(0x1_0000_0028), timeline: TimelineId::FIRST });
    assert!(start.windows(4).any(|part| part == b"1/28") && start.ends_with(b"SELECT\0"));
    let end = bytes(BackupEvent::End { lsn: Lsn::new(1), timeline: TimelineId::FIRST });
    assert!(end.starts_with(b"c\0\0\0\x04T") && end.ends_with(b"SELECT\0"));
    assert!(bytes(BackupEvent::Sound).ends_with(b"BASE_BACKUP\0"));
    let note = bytes(BackupEvent::Note(Box::new(Report::notice("waiting"))));
    assert!(note.starts_with(b"N") && note.windows(9).any(|part| part == b"Mwaiting\0"), "{note:?}");
    let warning = bytes(BackupEvent::Warning("skipping".to_owned()));
    assert!(warning.starts_with(b"N"));
    for field in [&b"SWARNING\0"[..], b"C01000\0", b"Mskipping\0"] {
        assert!(warning.windows(field.len()).any(|part| part == field), "{warning:?}");
    }
}
