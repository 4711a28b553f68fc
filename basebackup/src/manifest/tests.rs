use super::*;
use crate::manifest::checksum::FileChecksum;
use host::Timestamp;
use protocol::replication::ChecksumAlgorithm;

/// By a real pg_basebackup 15 (a few of its lines, with the checksum of just these lines put in).
fn real() -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let body = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n\
        { \"Path\": \"backup_label\", \"Size\": 225, \"Last-Modified\": \"2026-11-20 08:09:10 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"1f2e3d4c\" },\n\
        { \"Encoded-Path\": \"612f62\", \"Size\": 0, \"Last-Modified\": \"2026-11-20 08:09:10 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" }\n\
        ],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n],\n";
    let sum = checksum::hex(&Sha256::digest(body.as_bytes()));
    format!("{body}\"Manifest-Checksum\": \"{sum}\"}}\n").into_bytes()
}

#[test]
fn a_manifest_in_postgresqls_lines_is_read() {
    let manifest = Manifest::parse(&real()).unwrap();
    assert_eq!(manifest.files["backup_label"].size_bytes, 225);
    assert_eq!(
        manifest.files["backup_label"].checksum,
        Some((ChecksumAlgorithm::Crc32c, vec![0x1f, 0x2e, 0x3d, 0x4c]))
    );
    assert!(manifest.files.contains_key("a/b"));
    assert_eq!(manifest.wal_ranges[0].end.to_string(), "0/2000100");
}

#[test]
fn what_is_written_is_read_back() {
    for force in [false, true] {
        for algorithm in [ChecksumAlgorithm::None, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Sha512] {
            let mut writer = ManifestWriter::new(algorithm, force);
            let mut checksum = FileChecksum::new(algorithm);
            checksum.update(b"hello");
            let checksum = checksum.finish();
            for path in ["base/5/16384", "odd \"name\"\\ä\n"] {
                let modified = Timestamp::from_micros(0);
                writer.add_file(FileEntry { path, size_bytes: 5, modified, checksum: &checksum }).unwrap();
            }
            let range = WalRange { timeline: TimelineId::new(3), start: Lsn::new(1), end: Lsn::new(2) };
            let bytes = writer.finish(&[range]);
            let read = Manifest::parse(&bytes).unwrap();
            assert_eq!(read.wal_ranges, [range]);
            assert_eq!(read.files.len(), 2);
            for file in read.files.values() {
                let expected = (algorithm != ChecksumAlgorithm::None).then(|| (algorithm, checksum.clone()));
                assert_eq!(file.checksum, expected);
            }
            assert!(read.files.contains_key("odd \"name\"\\ä\n"));
        }
    }
}

#[test]
fn every_flipped_bit_of_a_manifest_is_noticed() {
    let real = real();
    let expected = Manifest::parse(&real).unwrap();
    for bit in 0..real.len() * 8 {
        let mut damaged = real.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // The case of hexadecimal digits in the checksum itself means nothing.
        match Manifest::parse(&damaged) {
            Err(_) => {}
            Ok(read) => {
                let digit = real[bit / 8].is_ascii_hexdigit() && bit % 8 == 5;
                assert!(digit && read == expected, "bit {bit} went unnoticed");
            }
        }
    }
}

#[test]
fn a_directory_is_held_to_its_manifest_one_defect_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, contents: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    };
    let mut writer = ManifestWriter::new(ChecksumAlgorithm::Sha224, false);
    for (path, contents) in [("PG_VERSION", &b"15\n"[..]), ("base/5/1", &[7; 300_000])] {
        let mut checksum = FileChecksum::new(ChecksumAlgorithm::Sha224);
        checksum.update(contents);
        let size_bytes = contents.len() as u64;
        let checksum = checksum.finish();
        writer
            .add_file(FileEntry { path, size_bytes, modified: Timestamp::default(), checksum: &checksum })
            .unwrap();
    }
    let manifest = Manifest::parse(&writer.finish(&[])).unwrap();
    let restore = || {
        write("PG_VERSION", b"15\n");
        write("base/5/1", &[7; 300_000]);
        write("pg_wal/000000010000000000000001", b"log");
        write("standby.signal", b"");
    };
    let problems = || verify_directory(&host::RealDisk, folder.path(), &manifest).unwrap();
    restore();
    assert_eq!(problems(), []);
    let path = "base/5/1".to_owned();
    write("base/5/1", &[7; 299_999]);
    assert_eq!(problems(), [Problem::Size { path: path.clone(), expected: 300_000, found: 299_999 }]);
    let mut changed = vec![7; 300_000];
    changed[299_999] = 8;
    write("base/5/1", &changed);
    assert_eq!(problems(), [Problem::Checksum { path: path.clone() }]);
    std::fs::remove_file(folder.path().join("base/5/1")).unwrap();
    assert_eq!(problems(), [Problem::Missing { path }]);
    restore();
    write("base/5/2", b"");
    assert_eq!(problems(), [Problem::Extra { path: "base/5/2".to_owned() }]);
}
