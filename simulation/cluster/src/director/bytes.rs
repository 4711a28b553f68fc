//! Promise 4 in the end: once all nodes have the same shutdown checkpoint, their logs are equal wherever both
//! have them, and so are all files of relations. No temporary file is left behind.

use super::admin::{PATIENCE, ask};
use super::{Shared, disks, machine_of, spoiled};
use crate::cluster::{DATA, Order, SEGMENT_BYTES, State};
use host::{Disk, FileKind};
use server::StopMode;
use simulation::VirtualDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wal::control::{ClusterState, ControlFile};
use wal::history::TimelineHistory;
use wal::{Lsn, SegmentSize};

/// How long a server may take to stop, and a standby to replay the shutdown checkpoint.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// No file of a node is larger.
const FILE_MAX: u64 = 1 << 30;

/// Stops all nodes, the primary first, and compares what they leave.
pub(super) async fn check(shared: &Arc<Shared>, survivor: usize) -> Result<(), String> {
    stop(shared, survivor).await?;
    let files = files_of(shared, survivor)?;
    let control = ControlFile::load(&files, Path::new(DATA)).map_err(|error| error.to_string())?;
    if control.state != ClusterState::ShutDown {
        return Err(format!("Equal: node {survivor} has stopped, and is {:?}", control.state));
    }
    let checkpoint = control.checkpoint;
    let others: Vec<usize> = shared.nodes().filter(|node| *node != survivor).collect();
    for node in &others {
        wait_for_replay(shared, *node, checkpoint).await?;
    }
    for node in &others {
        stop(shared, *node).await?;
    }
    let history = disks::history(&files, control.checkpoint_copy.timeline)
        .ok_or("Equal: the primary has no history of its timeline")?;
    for node in others {
        let theirs = files_of(shared, node)?;
        let differ = |what: String| format!("Equal: nodes {survivor} and {node} differ in {what}");
        equal_logs(shared, (&files, &theirs), &history, checkpoint).map_err(differ)?;
        // A backup may hold a file whose table was dropped before the backup's redo point, and who goes down
        // while a table is made may keep its file: nobody removes these.
        let may_have_more = |node| shared.facts.lock().losses_since(node, 0) > 0;
        let spares = [may_have_more(survivor), may_have_more(node)];
        equal_relations((&files, &theirs), spares).map_err(differ)?;
    }
    // Whoever never went down in the middle of anything, and had room, has no reason to leave something.
    let was_calm = |node: &usize| {
        let facts = shared.facts.lock();
        facts.losses_since(*node, 0) == 0 && !facts.paused_since(*node, 0)
    };
    for node in shared.nodes().filter(was_calm) {
        if let Some(path) = leftover(&files_of(shared, node)?, Path::new(DATA)) {
            return Err(format!("Bounded: node {node} has stopped and left {}", path.display()));
        }
    }
    Ok(())
}

fn files_of(shared: &Shared, node: usize) -> Result<VirtualDisk, String> {
    let cluster = shared.cluster.lock();
    let node = cluster.node(machine_of(node)).ok_or("no such node")?;
    Ok(node.files().clone())
}

/// Stops a server as by SIGINT.
pub(super) async fn stop(shared: &Shared, node: usize) -> Result<(), String> {
    shared.facts.lock().handovers.stopped(node, shared.now_ms());
    let states = {
        let mut cluster = shared.cluster.lock();
        cluster.order(machine_of(node), Order::Stop(StopMode::Fast));
        cluster.node(machine_of(node)).map(|node| node.states())
    };
    let Some(mut states) = states else { return Ok(()) };
    let ended = states.wait_for(State::is_over);
    match tokio::time::timeout(STOP_LIMIT, ended).await {
        Err(_) => Err(format!("liveness: node {node} does not stop")),
        Ok(Ok(state)) => match &*state {
            State::Ended(Err(error)) => Err(format!("liveness: node {node} does not stop cleanly: {error}")),
            _ => Ok(()),
        },
        Ok(Err(_)) => Ok(()),
    }
}

async fn wait_for_replay(shared: &Shared, node: usize, checkpoint: Lsn) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let sql = format!("select pg_last_wal_replay_lsn() > '{checkpoint}'::pg_lsn");
        let answer = shared.admin(async move { ask(machine_of(node), &sql, PATIENCE).await }).await;
        match answer.map_err(|error| error.to_string())? {
            Ok(Some(replayed)) if replayed == "t" => return Ok(()),
            other if begun.elapsed() > STOP_LIMIT => {
                return Err(format!(
                    "liveness: node {node} does not replay the shutdown checkpoint: {other:?}"
                ));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Compares the logs before `end`, timeline by timeline. Of timelines that share a segment the file of the
/// youngest has its beginning, whole: who has that may lack a part of the others, which it never received.
fn equal_logs(
    shared: &Shared,
    (ours, theirs): (&VirtualDisk, &VirtualDisk),
    history: &TimelineHistory,
    end: Lsn,
) -> Result<(), String> {
    let size = SegmentSize::new(SEGMENT_BYTES).ok_or("no such size of segments")?;
    let (mut last, mut compared) = (false, BTreeSet::new());
    for (timeline, begin, over) in history.newest_first() {
        let upto = over.unwrap_or(end).min(end);
        let mut segment = size.segment_of(begin);
        while size.start_of(segment) < upto && !compared.contains(&segment) {
            let (from, to) = (size.start_of(segment), upto.min(size.start_of(segment.next())));
            let name = segment.file_name(timeline, size);
            let path = disks::wal_folder().join(&name);
            if let (Ok(left), Ok(right)) = (ours.read(&path, FILE_MAX), theirs.read(&path, FILE_MAX)) {
                let within = usize::try_from(size.offset_of(from)).unwrap_or(0);
                let len = usize::try_from(to.bytes_since(from)).unwrap_or(0);
                let part = |bytes: &[u8]| bytes.get(within..within + len).map(<[u8]>::to_vec);
                let (left, right) = (part(&left).unwrap_or_default(), part(&right).unwrap_or_default());
                let first = spoiled::difference(shared, from, &left, &right);
                if left.len() != len || right.len() != len || first.is_some() {
                    return Err(format!("{name} between {from} and {to}, first after {first:?} bytes"));
                }
                last |= to == end;
                compared.insert(segment);
            }
            segment = segment.next();
        }
    }
    if last { Ok(()) } else { Err("which has the end of the log".to_owned()) }
}

/// Compares the files of all databases; either side may have files of its own if it is so said.
fn equal_relations(
    (ours, theirs): (&VirtualDisk, &VirtualDisk),
    [ours_may, theirs_may]: [bool; 2],
) -> Result<(), String> {
    let base = Path::new(DATA).join("base");
    let (mut ours, mut theirs) = (all_files(ours, &base)?, all_files(theirs, &base)?);
    if theirs_may {
        theirs.retain(|path, _| ours.contains_key(path));
    }
    if ours_may {
        ours.retain(|path, _| theirs.contains_key(path));
    }
    if !ours.keys().eq(theirs.keys()) {
        let only = |these: &BTreeMap<PathBuf, Vec<u8>>, those: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<String> {
            let missing = these.keys().filter(|path| !those.contains_key(*path));
            missing.map(|path| path.display().to_string()).collect()
        };
        return Err(format!("files: {:?}, {:?}", only(&ours, &theirs), only(&theirs, &ours)));
    }
    for (path, bytes) in &ours {
        let Some(other) = theirs.get(path).filter(|other| *other != bytes) else { continue };
        let first = bytes.iter().zip(other).position(|(left, right)| left != right);
        let (left, right) = (bytes.len(), other.len());
        let path = path.display();
        return Err(format!("{path} of {left} and {right} bytes, first after {first:?}"));
    }
    Ok(())
}

fn all_files(files: &VirtualDisk, folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    for entry in files.list(folder).map_err(|error| error.to_string())? {
        let path = folder.join(&entry.name);
        if entry.kind == FileKind::Directory {
            found.extend(all_files(files, &path)?);
        } else {
            let bytes = files.read(&path, FILE_MAX).map_err(|error| error.to_string())?;
            found.insert(path, bytes);
        }
    }
    Ok(found)
}

/// A temporary file, if there is one.
fn leftover(files: &VirtualDisk, folder: &Path) -> Option<PathBuf> {
    files.list(folder).unwrap_or_default().into_iter().find_map(|entry| {
        let path = folder.join(&entry.name);
        let is_temporary =
            ["tmp", "temp", "new"].iter().any(|word| entry.name.ends_with(&format!(".{word}")))
                || entry.name.starts_with("xlogtemp");
        match entry.kind {
            FileKind::Directory => leftover(files, &path),
            FileKind::File | FileKind::Other => is_temporary.then_some(path),
        }
    })
}
