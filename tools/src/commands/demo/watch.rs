//! The demo's look at lag: one task that asks the primary, the latest look and the worst.

use crate::commands::lag::{StandbyLag, query_lag};
use crate::output::say;
use anyhow::Result;
use protocol::Client;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The largest distance seen between the primary's end of WAL and what the standby had replayed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worst {
    /// In bytes of WAL.
    pub bytes: u64,
    /// In seconds, as the primary measured it.
    pub seconds: f64,
}

#[derive(Debug, Default)]
struct Seen {
    latest: Vec<StandbyLag>,
    worst: Worst,
}

/// A task that looks at the lag ten times a second.
#[derive(Debug)]
pub struct LagWatch {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl LagWatch {
    /// Connects to the primary and begins to look.
    pub async fn start(conninfo: &str) -> Result<Self> {
        let mut client = Client::connect_to(conninfo).await?;
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), CancellationToken::new());
        let task = tokio::spawn({
            let (seen, stop) = (seen.clone(), stop.clone());
            async move {
                let mut interval = tokio::time::interval(Duration::from_millis(100));
                while stop.run_until_cancelled(interval.tick()).await.is_some() {
                    // The primary is killed while this looks: then there is nothing more to see.
                    let Ok(latest) = query_lag(&mut client).await else { return };
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    for standby in &latest {
                        seen.worst.bytes = seen.worst.bytes.max(standby.replay.bytes);
                        seen.worst.seconds = seen.worst.seconds.max(standby.replay.seconds.unwrap_or(0.0));
                    }
                    seen.latest = latest;
                }
            }
        });
        Ok(Self { seen, stop, task })
    }

    fn latest(&self) -> Vec<StandbyLag> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).latest.clone()
    }

    /// Whether a standby streams.
    pub fn is_streaming(&self) -> bool {
        self.latest().iter().any(|standby| standby.state == "streaming")
    }

    /// Whether a standby is synchronous.
    pub fn is_synchronous(&self) -> bool {
        self.latest().iter().any(|standby| standby.sync_state == "sync")
    }

    /// Prints the latest look every half second.
    pub async fn print_for(&self, time: Duration) -> Result<()> {
        let end = tokio::time::Instant::now() + time;
        let mut interval = tokio::time::interval(Duration::from_millis(500));
        while tokio::time::Instant::now() < end {
            interval.tick().await;
            for standby in self.latest() {
                say!("  {standby}");
            }
        }
        Ok(())
    }

    /// Ends the task; returns the worst that it saw.
    pub async fn stop(self) -> Worst {
        self.stop.cancel();
        // A task that was cancelled or ended has nothing to say but what it has left in `seen`.
        let _ = self.task.await;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).worst
    }
}

/// Bytes with the unit that fits.
pub fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} kB", bytes >> 10),
        _ => format!("{} MB", bytes >> 20),
    }
}
