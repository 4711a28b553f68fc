//! How long a database has its directory.

use super::Database;
use tokio::sync::watch;

impl Database {
    /// Closed once nobody has this database any more, and its directory is free.
    pub fn lives(&self) -> watch::Receiver<()> {
        self.0.lives.subscribe()
    }
}
