//! What `plimsoll rewind` does, on a simulated machine.

use super::{DATA, conninfo, id_text};
use crate::machine::Machine;
use rewind::{DiscardedCommit, Need, NodeFiles, Rewind, RewindError, RewindOptions, SourceName};
use simulated::NodeId;
use wal::Lsn;

/// What a rewind says that it takes back, and whether an earlier one said so before.
#[derive(Clone, Debug)]
pub struct Discarded {
    /// Where the branches parted.
    pub fork: Lsn,
    /// The end of what goes.
    pub end: Lsn,
    /// Each commit.
    pub commits: Vec<DiscardedCommit>,
    /// An earlier rewind has begun to change the directory.
    pub was_begun: bool,
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewindEnd {
    /// There was nothing to take back.
    Nothing,
    /// It is done.
    Done {
        /// With what an earlier one had begun.
        again: bool,
        /// Where the branches parted, if it was looked for.
        fork: Option<Lsn>,
    },
}

/// Rewinds a machine's directory to what a running server has.
pub(super) async fn rewind(
    machine: Machine,
    node: NodeId,
    from: NodeId,
    judge: impl FnOnce(&Discarded) + Send + 'static,
) -> Result<RewindEnd, RewindError> {
    let options = RewindOptions {
        source: SourceName::Server(format!("{} application_name={}", conninfo(from), id_text(node))),
        target: DATA.into(),
        node_files: NodeFiles::Keep,
        standby: true,
        supply: None,
    };
    let rewind = Rewind::prepare(&machine.host, options).await?;
    let again = rewind.was_begun();
    let mut parted = None;
    match rewind.need() {
        Need::Nothing => {
            rewind.follow()?;
            return Ok(RewindEnd::Nothing);
        }
        Need::Rest => {}
        Need::Diverged(divergence) => {
            let mut commits = Vec::new();
            rewind.target().discarded(divergence, &|_| true, &mut |commit| {
                commits.push(commit);
                Ok(())
            })?;
            let (fork, end) = (divergence.fork.at, divergence.end);
            parted = Some(fork);
            judge(&Discarded { fork, end, commits, was_begun: again });
        }
    }
    rewind.run(&mut |_| ()).await?;
    Ok(RewindEnd::Done { again, fork: parted })
}
