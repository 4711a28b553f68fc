//! A cluster of simulated machines, each with a server, and what can happen to them.

mod archive;
mod image;
mod node;
mod rewinding;

pub use archive::Archive;
pub(crate) use archive::{ARCHIVE_COMMAND, Differing, RESTORE_COMMAND, SLOW_MS, first_difference};
pub use image::Image;
pub use node::{Node, Order, State};
pub use rewinding::{Discarded, RewindEnd};

use crate::machine::{DiskSpeed, NodeClock};
use parking_lot::Mutex;
use rewind::RewindError;
use simulated::net::{Link, Network, address_of};
use simulated::{Life, NodeId, World, fiber, task};
use simulation::{CrashPolicy, VirtualDisk};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where every node has its data directory.
pub const DATA: &str = "/data";
/// The size of segments in it.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// The port of every server.
pub const PORT: u16 = 5432;
/// Lines of the story that are kept, the last ones.
const STORY_LINES: usize = 4000;

/// What happened, for people: the nodes' logs, the faults and what clients met.
#[derive(Debug)]
pub struct Story {
    begun: Instant,
    lines: Mutex<VecDeque<String>>,
    /// Lines that hold one of these words are kept for [`Story::take_watched`], too.
    watched: Vec<&'static str>,
    found: Mutex<Vec<Watched>>,
}

/// A line with a word that is watched.
#[derive(Debug)]
pub struct Watched {
    /// When it was said, in milliseconds.
    pub at_ms: u64,
    /// Who said it.
    pub who: String,
    /// The line.
    pub line: String,
}

/// The story of the cluster that was made last.
static LAST: Mutex<Option<Arc<Story>>> = Mutex::new(None);

/// What is told so far of the cluster that was made last: for whoever ends a run in its middle.
pub fn story_so_far() -> String {
    let limit = Duration::from_secs(1);
    let story = LAST.try_lock_for(limit).and_then(|last| last.clone());
    let lines = story.as_ref().and_then(|story| story.lines.try_lock_for(limit));
    lines.map(|lines| text_of(&lines)).unwrap_or_default()
}

fn text_of(lines: &VecDeque<String>) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

impl Story {
    fn new(begun: Instant, watched: Vec<&'static str>) -> Arc<Self> {
        let story = Arc::new(Self { begun, lines: Mutex::default(), watched, found: Mutex::default() });
        *LAST.lock() = Some(story.clone());
        story
    }
    /// Adds a line.
    pub fn tell(&self, who: impl fmt::Display, what: &str) {
        let elapsed = self.begun.elapsed();
        let (at, at_ms) = (elapsed.as_secs_f64(), u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let mut lines = self.lines.lock();
        for line in what.lines() {
            if self.watched.iter().any(|words| line.contains(words)) {
                self.found.lock().push(Watched { at_ms, who: who.to_string(), line: line.to_owned() });
            }
            if lines.len() == STORY_LINES {
                lines.pop_front();
            }
            lines.push_back(format!("{at:9.4} {who:<3} {line}"));
        }
    }
    /// The lines with words that are watched since this was last asked.
    pub fn take_watched(&self) -> Vec<Watched> {
        std::mem::take(&mut *self.found.lock())
    }
    /// What is kept of one's lines, the oldest first.
    pub fn of(&self, who: &str) -> Vec<String> {
        let lines = self.lines.lock();
        lines
            .iter()
            .filter(|line| line.get(10..).is_some_and(|rest| rest.starts_with(who)))
            .cloned()
            .collect()
    }
    /// All that is kept.
    pub fn text(&self) -> String {
        text_of(&self.lines.lock())
    }
}

/// How a client reaches a node.
pub fn conninfo(node: NodeId) -> String {
    format!("host={} port={PORT} user=postgres dbname=postgres", address_of(node))
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    world: World,
    network: Network,
    begun: Instant,
    story: Arc<Story>,
    random: fastrand::Rng,
    nodes: BTreeMap<NodeId, Node>,
    archive: Arc<Archive>,
}

impl Cluster {
    /// A cluster without nodes, whose story watches for these words. Made inside of the simulation's runtime.
    pub fn new(world: World, network: Network, seed: u64, watched: Vec<&'static str>) -> Self {
        let begun = Instant::now();
        Self {
            world,
            network,
            begun,
            story: Story::new(begun, watched),
            random: fastrand::Rng::with_seed(seed),
            nodes: BTreeMap::new(),
            archive: Arc::default(),
        }
    }

    /// The archive of all nodes.
    pub fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }

    /// What happened so far.
    pub fn story(&self) -> &Arc<Story> {
        &self.story
    }
    /// The simulation.
    pub fn world(&self) -> World {
        self.world
    }
    /// Starts a machine that is no node, as clients have.
    pub fn boot(&self, id: NodeId) -> Life {
        self.network.power_on(id);
        self.world.start(id)
    }
    /// A node that was added.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }
    /// The same, to change it.
    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }
    /// Simulated time since the cluster was made.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Adds a machine with these files, without starting its server.
    pub fn add(&mut self, id: NodeId, files: VirtualDisk, speed: DiskSpeed, clock_off_us: i64) {
        let clock = Arc::new(NodeClock::new(self.begun, clock_off_us));
        self.nodes.insert(id, Node::new(id, files, speed, clock));
    }

    /// Starts a node's server; it is on its way when this returns.
    pub fn start(&mut self, id: NodeId) {
        let seed = self.random.u64(..);
        let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.is_up()) else { return };
        self.network.power_on(id);
        let life = self.world.start(id);
        self.story.tell(id_text(id), "starts");
        node.start(life, seed, &self.story);
        self.archive.serve(id, node.files(), seed);
    }

    /// Asks a node's server for something, as a user of its machine would.
    pub fn order(&mut self, id: NodeId, order: Order) {
        self.story.tell(id_text(id), &format!("is asked to {order:?}"));
        if let Some(node) = self.nodes.get(&id) {
            node.order(order);
        }
    }

    /// Kills a node's process; its machine and what the kernel has of its files stay.
    pub fn kill(&mut self, id: NodeId) {
        self.die(id, None, "is killed");
        self.network.kill(id);
    }

    /// Cuts a node's power.
    pub fn cut_power(&mut self, id: NodeId, policy: CrashPolicy) {
        self.die(id, Some(policy), &format!("loses power ({policy:?})"));
        self.network.power_off(id);
    }

    fn die(&mut self, id: NodeId, policy: Option<CrashPolicy>, what: &str) {
        let is_there = |node: &&mut Node| node.is_up() || node.has_program();
        let Some(node) = self.nodes.get_mut(&id).filter(is_there) else { return };
        self.story.tell(id_text(id), what);
        self.world.end(id);
        node.die(policy);
    }

    /// Ends the process of a server that has stopped by itself; whether it had.
    pub fn bury(&mut self, id: NodeId) -> bool {
        let stopped = self.nodes.get(&id).is_some_and(|node| node.is_up() && node.has_ended());
        if stopped {
            self.die(id, None, "has ended");
            self.network.kill(id);
        }
        stopped
    }

    /// Kills a program on a machine whose server is down.
    pub fn end_program(&mut self, id: NodeId) {
        self.story.tell(id_text(id), "has its program killed");
        self.world.end(id);
        self.network.kill(id);
    }

    /// Stops a node where it is, for a while.
    pub fn freeze(&mut self, id: NodeId) {
        self.story.tell(id_text(id), "is frozen");
        self.world.freeze(id);
    }

    /// Lets a frozen node go on.
    pub fn thaw(&mut self, id: NodeId) {
        self.story.tell(id_text(id), "thaws");
        self.world.thaw(id);
    }

    /// Sets how bytes come from one node to another.
    pub fn set_link(&mut self, from: NodeId, to: NodeId, link: Link) {
        self.story.tell(id_text(from), &format!("has a link to {} now: {link:?}", id_text(to)));
        self.network.set_link(from, to, link);
    }

    /// Ends all connections between two nodes.
    pub fn reset(&mut self, one: NodeId, other: NodeId) {
        self.story.tell(id_text(one), &format!("loses its connections to {}", id_text(other)));
        self.network.reset_between(one, other);
    }

    /// Sets a node's clock forward or back.
    pub fn jump_clock(&mut self, id: NodeId, by_us: i64) {
        self.story.tell(id_text(id), &format!("has its clock set by {by_us} us"));
        if let Some(node) = self.nodes.get(&id) {
            node.clock().jump(by_us);
        }
    }

    /// Clones `from` onto a new disk for a node whose server is down: what `plimsoll clone` does. Gives the
    /// disk, which [`Cluster::take`] makes the node's own.
    pub fn clone_from(
        &mut self,
        id: NodeId,
        from: NodeId,
    ) -> impl Future<Output = Result<VirtualDisk, String>> + use<> {
        let seed = self.random.u64(..);
        self.story.tell(id_text(id), &format!("is cloned from {}", id_text(from)));
        let life = self.boot(id);
        let (story, world, network) = (self.story.clone(), self.world, self.network.clone());
        let clean = self.nodes.get(&id).map(|node| node.clean(seed));
        async move {
            let (files, machine) = clean.ok_or("no such node")?;
            let done = fiber::run_in(life, "clone", image::clone(machine, id, from)).await;
            let done = done.map_err(|error| error.to_string()).and_then(|done| done);
            world.end(id);
            network.kill(id);
            story.tell(id_text(id), &format!("clone: {done:?}"));
            done.map(|()| files)
        }
    }

    /// Rewinds a node whose server is down to the branch of `from`, on its own disk: what `plimsoll rewind`
    /// does. `judge` is told what it takes back, before anything is. Whoever hears of its end calls
    /// [`Cluster::end_rewind`]; one that is killed never ends.
    pub fn rewind<J: FnOnce(&Discarded) + Send + 'static>(
        &mut self,
        id: NodeId,
        (from, directory): (NodeId, Option<VirtualDisk>),
        judge: J,
    ) -> impl Future<Output = Result<RewindEnd, RewindError>> + use<J> {
        let seed = self.random.u64(..);
        self.story.tell(id_text(id), &format!("is rewound to {}", id_text(from)));
        let life = self.boot(id);
        let machine = self.nodes.get_mut(&id).map(|node| node.begin_program(seed));
        async move {
            let Some(machine) = machine else { return Ok(RewindEnd::Nothing) };
            let runtime = tokio::runtime::Handle::current();
            let work =
                move || task::block_on(&runtime, rewinding::rewind(machine, id, (from, directory), judge));
            let work = async move { task::blocking(work).await };
            match fiber::run_in(life, "rewind", work).await {
                Ok(Ok(done)) => done,
                Ok(Err(error)) | Err(error) => Err(RewindError::Answer(error.to_string())),
            }
        }
    }

    /// The program that rewound a node is gone, and what it left is the node's.
    pub fn end_rewind(&mut self, id: NodeId, what: &str) {
        self.story.tell(id_text(id), &format!("rewind: {what}"));
        self.world.end(id);
        self.network.kill(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.die(None);
        }
    }

    /// What a power cut would take away of a disk that a clone has just filled.
    pub fn undurable(files: &VirtualDisk) -> Option<PathBuf> {
        files.undurable_files(Path::new(DATA)).into_iter().next()
    }

    /// Gives a node whose server is down other files.
    pub fn take(&mut self, id: NodeId, files: VirtualDisk) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.is_up()) {
            node.take(files);
        }
    }
}

/// How a node is called, in the story and by the others: they are counted from 0, their machines from 1.
pub fn id_text(id: NodeId) -> String {
    format!("n{}", id.0.saturating_sub(1))
}

/// Whether a file is there on a node's disk.
pub(crate) fn has(files: &VirtualDisk, name: &str) -> bool {
    use host::Disk;
    files.exists(&Path::new(DATA).join(name)).unwrap_or(false)
}
