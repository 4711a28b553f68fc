//! The clients of a run, and what is asked of the nodes when they have ended.

use super::admin::{PATIENCE, ask};
use super::{CLIENTS, LOOK, Shared, archived, events, machine_of, patience, peace, recorded, reports, slots};
use crate::branch::Token;
use crate::checks;
use crate::cluster::{DATA, conninfo};
use crate::guarantee::{Guarantee, Released};
use crate::history::{History, State};
use crate::workload::{self, Clock, Witness, Workload};
use parking_lot::Mutex;
use protocol::Client;
use simulated::fiber;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wal::Lsn;
use wal::control::ControlFile;

/// Clients end because they are told to, not because they are done.
const OPERATIONS_MAX: usize = 1_000_000;
/// How long clients may take to end once all nodes are back.
const END_LIMIT: Duration = Duration::from_secs(30);
/// How long the last questions may take.
const LAST_LIMIT: Duration = Duration::from_secs(30);
/// What a standby tells a reader that its redo did not wait for any longer.
const GIVES_WAY: &str = "due to conflict with recovery";
/// wal_writer_delay, PostgreSQL's default.
pub(super) const WAL_WRITER_DELAY_MS: u64 = 200;

/// Clients at work.
pub(super) struct Clients {
    workload: Arc<Workload>,
    history: Arc<Mutex<History>>,
    tasks: Vec<JoinHandle<()>>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Makes the clients' tables and lets them work.
pub(super) async fn start(shared: &Arc<Shared>) -> Result<Clients, String> {
    slots::make_first(shared).await?;
    let features = shared.plan.features.clone();
    let made = shared.admin(async move {
        let mut client = Client::connect_to(&conninfo(machine_of(0))).await.map_err(text)?;
        workload::set_up(&mut client, &features).await.map_err(text)
    });
    let made = tokio::time::timeout(LAST_LIMIT, made).await.map_err(|_| "no tables can be made")?;
    made.map_err(text)??;
    wait_for_tables(shared).await?;
    begin_from_tables(shared).await?;
    let history = shared.history.clone();
    let (of_time, of_answers) = (shared.clone(), shared.clone());
    let workload = Arc::new(Workload {
        nodes: shared.nodes().map(|node| conninfo(machine_of(node))).collect(),
        seed: shared.plan.seed,
        features: shared.plan.features.clone(),
        clock: Clock::new(move || of_time.now_ms()),
        witness: Witness::new(move |answer| events::answered(&of_answers, answer)),
        rests_until_ms: AtomicU64::new(0),
        history: history.clone(),
        operations_max: OPERATIONS_MAX,
        stop: AtomicBool::new(false),
    });
    let life = shared.cluster.lock().boot(CLIENTS);
    let work = |number| fiber::run_in(life, "client", workload.clone().run_client(number));
    let tasks = (0..shared.plan.clients).map(work).collect();
    Ok(Clients { workload, history, tasks })
}

/// Waits until each node shows the tables, to those too who ask for what is confirmed.
async fn wait_for_tables(shared: &Shared) -> Result<(), String> {
    let begun = Instant::now();
    for node in shared.nodes() {
        loop {
            let sql = "set plimsoll.standby_reads = confirmed; select count(*) from registers";
            match shared.admin(async move { ask(machine_of(node), sql, PATIENCE).await }).await {
                Ok(Ok(_)) => break,
                Ok(Err(why)) if begun.elapsed() > LAST_LIMIT => {
                    return Err(format!("liveness: node {node} does not show new tables: {why}"));
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
    Ok(())
}

/// Has redo of each node begin behind the tables: a standby that is started again shows what it had at its
/// last restartpoint, at first. It makes none before it has replayed the primary's checkpoint.
async fn begin_from_tables(shared: &Shared) -> Result<(), String> {
    let begun = Instant::now();
    let mut wanted = Lsn::INVALID;
    for node in shared.nodes() {
        loop {
            let done = shared.admin(async move { ask(machine_of(node), "checkpoint", LAST_LIMIT).await });
            done.await.map_err(text)??;
            let redo = redo_of(shared, node)?;
            if redo >= wanted {
                // The primary is the first.
                wanted = redo;
                break;
            }
            if begun.elapsed() > LAST_LIMIT {
                return Err(format!("liveness: node {node} makes no restartpoint behind {redo}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Where redo of a node would begin.
fn redo_of(shared: &Shared, node: usize) -> Result<Lsn, String> {
    let cluster = shared.cluster.lock();
    let there = cluster.node(machine_of(node)).ok_or("no such node")?;
    let control = ControlFile::load(there.files(), Path::new(DATA)).map_err(text)?;
    Ok(control.checkpoint_copy.redo)
}

impl Clients {
    /// Tells them to end.
    pub(super) fn stop(&self) {
        self.workload.stop();
    }

    /// Has them begin nothing for a while.
    pub(super) fn rest(&self, until_ms: u64) {
        self.workload.rests_until_ms.store(until_ms, Ordering::SeqCst);
    }

    /// Waits for their end, and checks all that they were told; how many operations they did.
    pub(super) async fn check(self, shared: &Arc<Shared>, survivor: usize) -> Result<usize, String> {
        for task in self.tasks {
            match tokio::time::timeout(END_LIMIT, task).await {
                Ok(ended) => ended.map_err(text)?,
                Err(_) => return Err("liveness: a client is never answered".to_owned()),
            }
        }
        let last = last_commit(shared, survivor).await?;
        archived::check(shared, survivor)?;
        let mut states = Vec::new();
        let others = shared.nodes().filter(|node| *node != survivor);
        for node in std::iter::once(survivor).chain(others) {
            states.push((node, state_of(shared, node, &last).await?));
        }
        // Once nothing is in doubt any more each node shows what is confirmed.
        wait_for_tables(shared).await?;
        let released = released(shared).await;
        shared.observe();
        if shared.facts.lock().fell_back(survivor)
            && !released.iter().any(|released| released.branch == last.branch)
        {
            return Err(format!("Silent: node {survivor} fell back, and no plimsoll_unconfirmed says so"));
        }
        if let Some(upto) = shared.facts.lock().last_return(survivor, &last.branch)
            && !released.iter().any(|released| released.upto == Some(upto))
        {
            return Err(format!(
                "Silent: node {survivor} is back since {upto}, and no plimsoll_unconfirmed ends there"
            ));
        }
        let history = std::mem::take(&mut *self.history.lock());
        let deeds = history.to_text();
        shared.cluster.lock().world().note(&deeds);
        *shared.deeds.lock() = deeds;
        patience::check(shared, &history)?;
        let guarantee = {
            let facts = shared.facts.lock();
            let known = facts.guarantee(last.branch, shared.plan.nodes(), released, WAL_WRITER_DELAY_MS);
            let reports = std::mem::take(&mut shared.wire.lock().reports);
            let spoiled = shared.spoiled.lock().keys().copied().collect();
            peace::add(shared, Guarantee { reports: Some(reports), spoiled, ..known })
        };
        {
            let mut rare = shared.rare.lock();
            rare.merge(&history.rare);
            rare.merge(&shared.facts.lock().rare);
            if let Some((_, state)) = states.first() {
                checks::count_rare(&history, &guarantee, state, &mut rare);
            }
        }
        let said = std::mem::take(&mut shared.facts.lock().reports);
        reports::check(&said, &history, &guarantee, &mut shared.rare.lock())?;
        checks::check_equal(&states).map_err(text)?;
        let Some((_, state)) = states.first() else { return Err("a cluster without nodes".to_owned()) };
        checks::check(&history, &guarantee, state).map_err(text)?;
        let (views, fallbacks) = {
            let mut facts = shared.facts.lock();
            (std::mem::take(&mut facts.views), std::mem::take(&mut facts.patience.fallbacks))
        };
        views.check(&guarantee)?;
        recorded::check(&fallbacks, &history, &guarantee)?;
        Ok(history.entries().len())
    }
}

/// Commits once more, when all nodes are back; where that commit ends.
pub(super) async fn last_commit(shared: &Shared, survivor: usize) -> Result<Token, String> {
    let commit = async move {
        let conninfo =
            format!("{} options='-c plimsoll.report_commit_lsn=on'", conninfo(machine_of(survivor)));
        let mut client = Client::connect_to(&conninfo).await.map_err(text)?;
        client.query("create table if not exists last_words (at bigint)").await.map_err(text)?;
        client.query("insert into last_words values (1)").await.map_err(text)?;
        let token = client.parameter("plimsoll.commit_lsn").ok_or("no token of the last commit")?.to_owned();
        token.parse::<Token>().map_err(text)
    };
    let done = tokio::time::timeout(LAST_LIMIT, shared.admin(commit)).await;
    done.map_err(|_| format!("liveness: node {survivor} takes no commit when all nodes are back"))?
        .map_err(|error| format!("liveness: node {survivor} is no primary when all nodes are back: {error}"))?
        .map_err(|why| format!("liveness: node {survivor} takes no commit when all nodes are back: {why}"))
}

/// What a node holds once it has the last commit. Redo of what lies behind that may cancel this read, as
/// PostgreSQL documents, and whoever reads tries again; a standby that cancels for as long as the limit
/// fails.
async fn state_of(shared: &Shared, node: usize, last: &Token) -> Result<State, String> {
    let failed =
        |why: String| format!("liveness: node {node} can not be read when all nodes are back: {why}");
    let begun = Instant::now();
    loop {
        let wait = format!("WAIT FOR LSN '{last}' TIMEOUT 20000");
        let read = async move {
            let mut client = Client::connect_to(&conninfo(machine_of(node))).await.map_err(text)?;
            client.query(&wait).await.map_err(text)?;
            workload::read_state(&mut client).await.map_err(text)
        };
        let done = tokio::time::timeout(LAST_LIMIT, shared.admin(read)).await;
        match done.map_err(|_| failed("no answer".to_owned()))?.map_err(text)? {
            Err(why) if why.contains(GIVES_WAY) && begun.elapsed() < LAST_LIMIT => {
                tokio::time::sleep(LOOK).await;
            }
            read => return read.map_err(failed),
        }
    }
}

/// What the nodes say was acknowledged without the quorum, on whatever branch had that number.
async fn released(shared: &Shared) -> Vec<Released> {
    let sql = "select string_agg(timeline || ' ' || after_lsn || ' ' || coalesce(upto_lsn::text, '-'), ',') \
               from plimsoll_unconfirmed";
    let mut released = Vec::new();
    for node in shared.nodes() {
        let asked = shared.admin(async move { ask(machine_of(node), sql, PATIENCE).await });
        let Ok(Ok(Some(text))) = asked.await else { continue };
        let facts = shared.facts.lock();
        for row in text.split(',') {
            let mut words = row.split(' ');
            let (Some(timeline), Some(after), Some(upto)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let (Ok(timeline), Ok(after)) = (timeline.parse::<u32>(), after.parse()) else { continue };
            let named = facts.branches_numbered(timeline);
            let upto = upto.parse().ok();
            released.extend(named.map(|branch| Released { branch, after, upto, told_ms: None }));
        }
    }
    released
}
