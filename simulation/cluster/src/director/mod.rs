//! Runs a plan: lets the events happen to the cluster while clients work, then ends all faults, brings every
//! node back, and has everything checked.

mod admin;
mod alone;
mod archived;
mod bytes;
mod clients;
mod copies;
mod disks;
mod dropped;
mod events;
mod facts;
mod fallbacks;
mod finish;
mod handovers;
mod heeded;
mod lasting;
mod lazy;
mod ledger;
mod leftovers;
mod lives;
mod own_rewinds;
mod patience;
mod peace;
mod recorded;
mod reports;
mod rewinding;
mod roster;
mod said;
mod settings;
mod slots;
mod spoiled;
mod syncs;
mod views;
mod watch;
mod wire;
mod words;

use crate::cluster::{Cluster, Image};
use crate::history::History;
use crate::machine::DiskSpeed;
use crate::plan::{Answered, Event, Handed, Plan, Timed};
use crate::rare::{Counters, Rare};
use facts::Facts;
use lasting::Lasting;
use parking_lot::Mutex;
use settings::Settings;
use simulated::net::Network;
use simulated::{Life, NodeId, World, fiber};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use wal::Lsn;

/// The machine of administrators.
const ADMIN: NodeId = NodeId(999);
/// The first machine of clients.
const CLIENTS: NodeId = NodeId(1000);
/// How often what happened is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a new cluster may take until it works.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The machine of a plan's node.
pub fn machine_of(node: usize) -> NodeId {
    NodeId(u16::try_from(node + 1).unwrap_or(u16::MAX))
}

/// The number of a node's machine in the plan.
fn number_of(machine: NodeId) -> usize {
    usize::from(machine.0).saturating_sub(1)
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// What was wrong, if anything.
    pub failure: Option<String>,
    /// Rare states that were reached.
    pub rare: Counters,
    /// How many operations clients did.
    pub operations: usize,
    /// How many times the branch changed.
    pub turns: usize,
    /// Simulated time, until the end.
    pub simulated: Duration,
    /// What happened, for people.
    pub story: String,
}

/// What the tasks of a run share.
struct Shared {
    plan: Plan,
    begun: Instant,
    admin: Life,
    cluster: Mutex<Cluster>,
    facts: Mutex<Facts>,
    rare: Mutex<Counters>,
    lasting: Mutex<Lasting>,
    /// Nodes to which something lasting is being done.
    busy: Mutex<BTreeMap<usize, &'static str>>,
    /// Statements of an administrator's that are not answered yet, and rewinds that wait for their source.
    asking: AtomicU64,
    /// Nodes that are cloned, with whom from.
    clones: Mutex<BTreeMap<usize, usize>>,
    /// Nodes that are rewound, with whom to.
    rewinds: Mutex<BTreeMap<usize, rewinding::Rewinding>>,
    /// Nodes whose log has lost what was durable, and whether they must see that. All of them may.
    damaged: Mutex<BTreeMap<usize, bool>>,
    /// The bytes of the log that disks of standbys have changed, and what they were.
    spoiled: Mutex<BTreeMap<Lsn, u8>>,
    /// Who was made the primary last.
    primary: Mutex<usize>,
    /// What happens when a client is answered.
    armed: Mutex<Vec<(Answered, Event)>>,
    /// What happens when a role is handed over so far.
    armed_handovers: Mutex<Vec<(Handed, Event)>>,
    /// Until when clients rest.
    rests_until_ms: Mutex<u64>,
    /// How many want fibers to stand still at many locks, and how the order was shuffled before.
    stalls: Mutex<(usize, Option<simulated::Schedule>)>,
    /// What clients do, and when they have ended its text.
    history: Arc<Mutex<History>>,
    deeds: Mutex<String>,
    /// What nodes send each other.
    wire: Mutex<wire::Wire>,
    /// Standbys that rewind themselves.
    own_rewinds: Mutex<own_rewinds::OwnRewinds>,
    /// What nodes said that is looked into.
    watch: Mutex<watch::Watch>,
    /// Until when commits that do not wait were looked at, in milliseconds.
    lazy_until_ms: AtomicU64,
    /// When the plan began, in milliseconds.
    plan_from_ms: AtomicU64,
    /// What was found wrong on the way, first.
    failure: Mutex<Option<String>>,
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
    fn hit(&self, rare: Rare) {
        self.rare.lock().hit(rare);
    }
    /// Something is wrong.
    fn fail(&self, why: String) {
        self.failure.lock().get_or_insert(why);
    }
    /// What was found wrong so far.
    fn found(&self) -> Result<(), String> {
        self.failure.lock().clone().map_or(Ok(()), Err)
    }
    fn tell(&self, what: &str) {
        let story = self.cluster.lock().story().clone();
        story.tell("-", what);
    }
    fn nodes(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.plan.nodes()
    }
    /// Runs something of an administrator's, on his machine.
    fn admin<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        fiber::run_in(self.admin, "administrator", work)
    }
    /// Lets something of an administrator's go on beside.
    fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.admin(work));
    }
    /// Reads what the nodes' logs say of new branches.
    fn observe(&self) {
        let cluster = self.cluster.lock();
        let lines = cluster.story().take_watched();
        let of_nodes = lines.iter().filter_map(said::Line::of);
        let told: Vec<usize> = of_nodes.clone().filter_map(|line| said::hear(self, line)).collect();
        let files = |node: usize| cluster.node(machine_of(node)).map(|node| node.files());
        self.facts.lock().observe(self.now_ms(), files);
        drop(cluster);
        if let Err(why) = of_nodes.into_iter().try_for_each(|line| said::judge(self, line)) {
            self.fail(why);
        }
        let kept = told.into_iter().try_for_each(|node| ledger::check_at_once(self, node));
        // A rewind comes first: what a disk shows after it is not judged by what was so before.
        let looked = kept
            .and_then(|()| own_rewinds::look(self))
            .and_then(|()| disks::look(self))
            .and_then(|()| lives::look(self))
            .and_then(|()| handovers::look(self));
        if let Err(why) = looked.and_then(|()| lazy::look(self)) {
            self.fail(why);
        }
    }
}

/// Runs a plan.
pub async fn run(plan: &Plan, world: World, network: Network, image: &Image) -> Report {
    let shared = Arc::new(set_up(plan, world, network.clone(), image));
    wire::listen(&shared, &network);
    let done = drive(&shared).await;
    // What was found on the way comes before what it led to.
    let done = shared.found().and(done);
    let (rare, turns) = (shared.rare.lock().clone(), shared.facts.lock().turns());
    let cluster = shared.cluster.lock();
    let (operations, failure) = match done {
        Ok(operations) => (operations, None),
        Err(failure) => (0, Some(failure)),
    };
    let mut deeds = std::mem::take(&mut *shared.deeds.lock());
    if deeds.is_empty() {
        deeds = shared.history.lock().to_text();
    }
    let story = format!("{}what clients did:\n{deeds}", cluster.story().text());
    Report { failure, rare, operations, turns, simulated: cluster.elapsed(), story }
}

fn set_up(plan: &Plan, world: World, network: Network, image: &Image) -> Shared {
    let mut random = fastrand::Rng::with_seed(plan.seed ^ 0x5eed);
    let admin = world.start(ADMIN);
    network.power_on(ADMIN);
    let words = [words::HEARD, words::DAMAGE].concat();
    let mut cluster = Cluster::new(world, network, random.u64(..), words);
    let mut facts = Facts::default();
    let settings = Settings::random(plan, &mut random);
    for (node, upstream) in plan.upstreams.iter().enumerate() {
        let id = machine_of(node);
        let files = match upstream {
            None => image.primary(),
            Some(upstream) => image.standby(id, machine_of(*upstream)),
        };
        settings.put(plan, node, &files);
        facts.names_set(node, 0, &plan.names);
        let speed = if random.bool() { DiskSpeed::SLOW } else { DiskSpeed::FAST };
        cluster.add(id, files, speed, random.i64(-2_000_000..2_000_000));
    }
    Shared {
        plan: plan.clone(),
        begun: Instant::now(),
        admin,
        cluster: Mutex::new(cluster),
        facts: Mutex::new(facts),
        rare: Mutex::default(),
        lasting: Mutex::default(),
        busy: Mutex::default(),
        asking: AtomicU64::new(0),
        clones: Mutex::default(),
        rewinds: Mutex::default(),
        damaged: Mutex::default(),
        spoiled: Mutex::default(),
        primary: Mutex::new(0),
        armed: Mutex::default(),
        armed_handovers: Mutex::default(),
        rests_until_ms: Mutex::default(),
        stalls: Mutex::default(),
        history: Arc::default(),
        deeds: Mutex::default(),
        wire: Mutex::default(),
        own_rewinds: Mutex::default(),
        watch: Mutex::default(),
        lazy_until_ms: AtomicU64::new(0),
        plan_from_ms: AtomicU64::new(0),
        failure: Mutex::default(),
    }
}

/// Lets everything happen; how many operations clients did.
async fn drive(shared: &Arc<Shared>) -> Result<usize, String> {
    for node in shared.nodes() {
        shared.cluster.lock().start(machine_of(node));
    }
    wait_for_start(shared).await?;
    let clients = clients::start(shared).await?;
    let begun = Instant::now();
    shared.plan_from_ms.store(shared.now_ms(), Ordering::Relaxed);
    let mut events = shared.plan.events.iter().peekable();
    let ends = Duration::from_millis(shared.plan.duration_ms);
    while begun.elapsed() < ends {
        while let Some(Timed { event, .. }) =
            events.next_if(|timed| begun.elapsed() >= Duration::from_millis(timed.at_ms))
        {
            events::happen(shared, event);
        }
        clients.rest(*shared.rests_until_ms.lock());
        shared.observe();
        watch::look(shared);
        fallbacks::look(shared);
        views::look(shared);
        shared.found()?;
        let next = events.peek().map(|timed| begun + Duration::from_millis(timed.at_ms));
        let look = (Instant::now() + LOOK).min(begun + ends);
        tokio::time::sleep_until(next.map_or(look, |next| next.min(look))).await;
    }
    clients.stop();
    shared.armed.lock().clear();
    shared.armed_handovers.lock().clear();
    let survivor = finish::converge(shared).await?;
    fallbacks::wait_for_end(shared, survivor).await?;
    let operations = clients.check(shared, survivor).await?;
    shared.observe();
    ledger::wait_for_room(shared).await?;
    ledger::check(shared)?;
    roster::check(shared).await?;
    copies::check(shared, survivor).await?;
    slots::check_temporary(shared).await?;
    bytes::check(shared, survivor).await?;
    Ok(operations)
}

async fn wait_for_start(shared: &Shared) -> Result<(), String> {
    for node in shared.nodes() {
        let mut states = match shared.cluster.lock().node(machine_of(node)) {
            Some(node) => node.states(),
            None => continue,
        };
        let up = states.wait_for(|state| !matches!(state, crate::cluster::State::Starting));
        match tokio::time::timeout(START_LIMIT, up).await {
            Ok(Ok(state)) if *state == crate::cluster::State::Up => {}
            other => return Err(format!("node {node} does not start: {other:?}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_counted_from_one() {
        assert_eq!((0..9).map(machine_of).map(number_of).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    }
}
