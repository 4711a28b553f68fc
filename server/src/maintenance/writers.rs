//! The writers: of the log's end, for commits that do not wait for it, and of changed pages.

use crate::configuration::Ground;
use crate::tasks::blocking;
use std::sync::Arc;
use std::time::Duration;
use storage::Database;
use storage::pool::CleanNeed;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;
use wal::Lsn;

/// Ends when nothing more of the log becomes durable: its writer has failed, or was closed.
async fn log_ends(database: &Database) {
    match database.wal() {
        // What it reached says the tick, too.
        Some(wal) => drop(wal.positions().wait_flushed(Lsn::MAX).await),
        None => std::future::pending().await,
    }
}

/// The wal writer's ticks, which also see that the log has grown enough for a checkpoint. Whoever must stop
/// since the log has failed hears of it at once.
pub(super) async fn write_log(
    ground: Arc<Ground>,
    database: Database,
    due: Arc<Notify>,
    failed: mpsc::Sender<String>,
) {
    let mut reloads = ground.reloads();
    let mut has_ended = false;
    loop {
        let config = ground.config();
        let mut ticks = tokio::time::interval(config.wal_writer_delay.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = reloads.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                () = log_ends(&database), if !has_ended => has_ended = true,
                _ = ticks.tick() => {}
            }
            let writing = database.clone();
            let ticked = blocking(move || writing.wal_writer_tick()).await;
            database.take_troubles().into_iter().for_each(|trouble| ground.log.warning(trouble));
            if let Err(error) = database.check_pages()
                && !matches!(error, storage::Error::Shutdown)
            {
                let _ = failed.send(format!("no page can be written any more: {error}")).await;
                return;
            }
            match ticked {
                Ok(Ok(_)) => {}
                Ok(Err(storage::Error::Shutdown)) | Err(_) => return,
                Ok(Err(error)) => {
                    // A receiver that has gone is already stopping.
                    let _ = failed.send(format!("could not write the log: {error}")).await;
                    return;
                }
            }
            if database.checkpoint_is_due() {
                due.notify_one();
            }
        }
    }
}

/// The background writer: writes changed pages whose frames will soon be taken, so that no session has to.
pub(super) async fn write_pages(ground: Arc<Ground>, database: Database) {
    let mut reloads = ground.reloads();
    let mut need = CleanNeed::default();
    loop {
        let config = ground.config();
        let read_ahead = usize::try_from(config.effective_io_concurrency).unwrap_or(usize::MAX);
        database.store().set_read_ahead(read_ahead);
        tokio::select! {
            biased;
            changed = reloads.changed() => if changed.is_err() { return } else { continue },
            () = tokio::time::sleep(config.bgwriter_delay.max(Duration::from_millis(10))) => {}
        }
        let pages_max = usize::try_from(config.bgwriter_lru_maxpages).unwrap_or(usize::MAX);
        let wanted = need.next(database.store().counters().taken, config.bgwriter_lru_multiplier);
        if wanted == 0 || pages_max == 0 {
            continue;
        }
        let store = database.store().clone();
        match blocking(move || store.pool().write_ahead(wanted, pages_max)).await {
            Ok(Ok(_)) => {}
            Err(_) => return,
            // Whoever needs a frame meets the same error, and has somebody to tell.
            Ok(Err(error)) => {
                ground.log.warning(format!("background writer could not write a page: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
