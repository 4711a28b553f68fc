//! What a rewind is asked for.

use crate::beside::LogArchive;
use crate::plan::NodeFiles;
use crate::source::SourceName;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What to rewind, and how.
#[derive(Clone)]
pub struct RewindOptions {
    /// Whose branch counts.
    pub source: SourceName,
    /// The directory to rewind.
    pub target: PathBuf,
    /// What becomes of settings and other files of the node.
    pub node_files: NodeFiles,
    /// Whether the directory is to start as a standby (of the source, if that is a server).
    pub standby: bool,
    /// Gives segments of the target's log that are gone; then log that the source has no more may come from
    /// there, too, when the server starts.
    pub supply: Option<Arc<dyn LogArchive>>,
    /// Cancelled, it ends what reads the target's log, which takes long: with [`RewindError::Stopped`].
    ///
    /// [`RewindError::Stopped`]: crate::RewindError::Stopped
    pub stop: CancellationToken,
}

impl std::fmt::Debug for RewindOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RewindOptions").field("target", &self.target).finish_non_exhaustive()
    }
}
