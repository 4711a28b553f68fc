//! Rows with more versions than the pool has pages, as sessions meet them.

use super::*;
use crate::{Pace, SweepCause};
use Isolation::RepeatableRead;

/// A row under an old snapshot, updated until its versions take twice the pool's pages.
async fn hot_row() -> (VirtualDisk, Database, TreeId, Transaction) {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("hot", "first"), ("next", "x")], SyncLevel::Off).await;
    let old = statement(&db, RepeatableRead).await;
    let long = "v".repeat(1850);
    for number in 0..560 {
        write(&db, tree, &[("hot", &format!("{number}{long}"))], SyncLevel::Off).await;
    }
    assert!(db.store().tree(tree).unwrap().page_count() > 256);
    (disk, db, tree, old)
}

#[tokio::test]
async fn an_old_snapshot_reads_a_row_that_was_updated_more_often_than_the_pool_has_pages() {
    let (_disk, db, tree, old) = hot_row().await;
    assert_eq!(get(&old, tree, "hot").await.as_deref(), Some("first"));
    let seen = rows(&old, tree, crate::Direction::Backward).await;
    assert_eq!(seen, [("next".into(), "x".into()), ("hot".into(), "first".into())]);
    assert!(read(&db, tree, "hot").await.unwrap().starts_with("559v"));
    drop(old);
    let report = db.vacuum(tree, SweepCause::Asked, Box::new(crate::tree::Unpaced)).await.unwrap();
    assert_eq!((report.live, report.dead), (2, 0));
    assert!(report.pages < 10, "{report:?}");
}

#[tokio::test]
async fn a_read_of_a_long_chain_and_its_sweep_end_when_they_are_told_to() {
    let (_disk, db, tree, old) = hot_row().await;
    old.interrupt().cancel();
    assert!(matches!(old.get(tree, b"hot").await, Err(Error::Cancelled)));
    old.interrupt().clear();
    assert_eq!(get(&old, tree, "hot").await.as_deref(), Some("first"));

    struct Stops(Arc<std::sync::atomic::AtomicU32>);
    impl Pace for Stops {
        fn after_piece(&mut self, _changed: bool, _read_pages: u64) -> bool {
            self.0.fetch_add(1, std::sync::atomic::Ordering::AcqRel) < 2
        }
    }
    let pieces = Arc::default();
    let stopped = db.vacuum(tree, SweepCause::Asked, Box::new(Stops(Arc::clone(&pieces)))).await;
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert_eq!(pieces.load(std::sync::atomic::Ordering::Acquire), 3, "one leaf, but many pieces");
}

#[tokio::test]
async fn nothing_is_written_by_a_sweep_after_the_database_was_closed() {
    let (_disk, db, tree, old) = hot_row().await;
    drop(old);
    struct Closes(Database);
    impl Pace for Closes {
        fn after_piece(&mut self, _changed: bool, _read_pages: u64) -> bool {
            self.0.0.closed.store(true, std::sync::atomic::Ordering::Release);
            true
        }
    }
    let stopped = db.vacuum(tree, SweepCause::Asked, Box::new(Closes(db.clone()))).await;
    assert!(matches!(stopped, Err(Error::Shutdown | Error::Cancelled)), "{stopped:?}");
    db.shutdown().await.unwrap();
}
