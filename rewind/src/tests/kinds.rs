//! Something else in the target where the source has a file or a folder.

use super::{assert_is_twos, diverged, relations, rewind};
use crate::plan::target_files;
use crate::{NodeFiles, RewindError};
use basebackup::send::files::{FileClass, SentFile};
use host::{Disk, RealDisk, write_file_durably};
use simulation::VirtualDisk;
use std::os::unix::fs::symlink;
use std::path::Path;
use storage::REWIND_MARKER;

async fn assert_refused(disk: &VirtualDisk, path: &str) {
    let before = relations(&disk.fork(), "/two");
    let error = rewind(disk).await.unwrap_err();
    assert!(matches!(&error, RewindError::DifferentKind(named) if named == path), "{path}: {error}");
    assert!(!error.may_pass(), "somebody has to move it");
    assert!(!disk.exists(&Path::new("/one").join(REWIND_MARKER)).unwrap(), "{path}: it was begun");
    assert_eq!(relations(disk, "/two"), before);
}

#[tokio::test]
async fn nothing_is_begun_that_could_not_be_ended() {
    let disk = diverged().await;
    let relation = relations(&disk, "/two").into_keys().last().unwrap();
    let own = Path::new("/one").join(&relation);
    for path in [relation.as_str(), "pg_wal/00000002.history"] {
        let disk = disk.fork();
        let own = Path::new("/one").join(path);
        if disk.exists(&own).unwrap() {
            disk.remove_file(&own).unwrap();
        }
        disk.create_dir(&own).unwrap();
        assert_refused(&disk, path).await;
    }
    disk.create_dir(Path::new("/two/base/9")).unwrap();
    write_file_durably(&disk, Path::new("/one/base/9"), b"a file").unwrap();
    assert_refused(&disk, "base/9").await;
    disk.remove_file(Path::new("/one/base/9")).unwrap();
    rewind(&disk).await.unwrap().unwrap();
    assert!(disk.exists(&own).unwrap());
    assert_is_twos(&disk, "out of the way").await;
}

#[test]
fn nothing_is_written_through_a_link() {
    let (target, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sent = |path: &str, class| SentFile { path: path.to_owned(), size: 1, class };
    let source = [
        sent("base", FileClass::Folder),
        sent("base/5", FileClass::Folder),
        sent("base/5/16384", FileClass::Relation),
        sent("certificates", FileClass::Folder),
        sent("certificates/own", FileClass::Plain),
        sent("pg_wal", FileClass::Folder),
        sent("pg_wal/000000010000000000000001", FileClass::Log),
    ];
    let refused = |node_files| match target_files(&RealDisk, target.path(), &source, node_files) {
        Err(RewindError::DifferentKind(path)) => Some(path),
        other => other.map(|_| None).unwrap(),
    };
    let folder = |name: &str| target.path().join(name);
    std::fs::create_dir_all(folder("base/5")).unwrap();
    symlink(elsewhere.path(), folder("pg_wal")).unwrap();
    assert_eq!(refused(NodeFiles::Replace), None, "the log may be elsewhere");
    symlink(elsewhere.path(), folder("certificates")).unwrap();
    assert_eq!(refused(NodeFiles::Replace).as_deref(), Some("certificates"));
    assert_eq!(refused(NodeFiles::Keep), None, "they stay");
    symlink(elsewhere.path().join("file"), folder("base/5/16384")).unwrap();
    assert_eq!(refused(NodeFiles::Keep).as_deref(), Some("base/5/16384"));
}
