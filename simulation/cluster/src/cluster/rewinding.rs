//! What `plimsoll rewind` does, on a simulated machine.

use super::{DATA, conninfo, id_text};
use crate::machine::Machine;
use basebackup::clone::{make_standby, primary_conninfo_of_node};
use host::{Disk, FileKind, write_file_durably};
use rewind::{DiscardedCommit, Need, NodeFiles, Rewind, RewindError, RewindOptions, SourceName};
use simulated::NodeId;
use simulation::VirtualDisk;
use std::io;
use std::path::Path;
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

/// Where a copy of the source's directory is.
const SOURCE: &str = "/source";
const FILE_MAX: u64 = 1 << 30;

/// Copies the directory of a server that was stopped.
fn copy_directory(from: &VirtualDisk, to: &dyn Disk, (path, copy): (&Path, &Path)) -> io::Result<()> {
    to.create_dir_all(copy)?;
    for entry in from.list(path)? {
        let (path, copy) = (path.join(&entry.name), copy.join(&entry.name));
        match entry.kind {
            FileKind::Directory => copy_directory(from, to, (&path, &copy))?,
            _ if entry.name == "lock" => {}
            _ => write_file_durably(to, &copy, &from.read(&path, FILE_MAX)?)?,
        }
    }
    Ok(())
}

/// Rewinds a machine's directory to what a running server has, or a copy of its directory.
pub(super) async fn rewind(
    machine: Machine,
    node: NodeId,
    (from, directory): (NodeId, Option<VirtualDisk>),
    judge: impl FnOnce(&Discarded) + Send + 'static,
) -> Result<RewindEnd, RewindError> {
    let conninfo = format!("{} application_name={}", conninfo(from), id_text(node));
    let source = match &directory {
        Some(files) => {
            let disk = &*machine.host.disk;
            let (from, copy) = (Path::new(DATA), Path::new(SOURCE));
            // That of a rewind that was killed. The rules for a server's files are not for these.
            let _ = host::remove_tree(machine.disk.files(), copy);
            let copied = copy_directory(files, disk, (from, copy));
            copied.map_err(|error| RewindError::Io { path: SOURCE.to_owned(), error })?;
            SourceName::Directory(SOURCE.into())
        }
        None => SourceName::Server(conninfo.clone()),
    };
    // A server's connection string is taken over by the rewind itself.
    let follows = directory.is_some().then_some(conninfo.as_str());
    let options = RewindOptions {
        source,
        target: DATA.into(),
        node_files: NodeFiles::Keep,
        standby: true,
        supply: None,
        stop: Default::default(),
    };
    let mut rewind = Rewind::prepare(&machine.host, options).await?;
    let again = rewind.was_begun();
    let mut parted = None;
    match rewind.need() {
        Need::Nothing => {
            rewind.give_up_begun()?;
            rewind.follow()?;
            follow_source(&machine, follows)?;
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
    follow_source(&machine, follows)?;
    Ok(RewindEnd::Done { again, fork: parted })
}

/// What an operator does after a rewind to a directory: it follows that one's server.
fn follow_source(machine: &Machine, conninfo: Option<&str>) -> Result<(), RewindError> {
    let Some(conninfo) = conninfo else { return Ok(()) };
    let (disk, dir) = (&*machine.host.disk, Path::new(DATA));
    make_standby(disk, dir, &primary_conninfo_of_node(disk, dir, conninfo)?, None)?;
    let _ = host::remove_tree(machine.disk.files(), Path::new(SOURCE));
    Ok(())
}
