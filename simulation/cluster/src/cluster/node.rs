//! A machine of the cluster and its server.

use super::{DATA, Story, id_text};
use crate::machine::{DiskSpeed, Machine, NodeClock};
use host::Disk;
use host::task::task;
use parking_lot::Mutex;
use server::{Carried, Control, Ending, LogSink, Server, ServerError, ServerOptions, StopMode};
use simulated::net::address_of;
use simulated::{Life, NodeId, fiber};
use simulation::{CrashPolicy, VirtualDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What the server of a node can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To stop.
    Stop(StopMode),
    /// To become a primary.
    Promote,
    /// To read its settings again.
    Reload,
}

/// How a node's server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Down: never started, killed, or stopped and buried.
    Down,
    /// On its way up.
    Starting,
    /// It takes connections.
    Up,
    /// It has ended by itself, and what it said then if that was an error.
    Ended(Result<(), String>),
}

impl State {
    /// Whether no server runs: it has ended, or there was none.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Down)
    }
}

/// A machine.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    /// As its next life will find them.
    files: VirtualDisk,
    clock: Arc<NodeClock>,
    speed: DiskSpeed,
    /// The same for a while.
    slowed: Option<DiskSpeed>,
    capacity_bytes: u64,
    /// Settings that it is started with, besides those of its files.
    settings: Vec<(String, String)>,
    run: Option<Run>,
    /// What a program has of the machine that works on its files while its server is down.
    program: Option<Machine>,
    state: watch::Sender<State>,
}

/// A life of its server.
#[derive(Debug)]
struct Run {
    life: Life,
    machine: Machine,
    orders: mpsc::UnboundedSender<Order>,
}

impl Node {
    pub(super) fn new(id: NodeId, files: VirtualDisk, speed: DiskSpeed, clock: Arc<NodeClock>) -> Self {
        let settings = vec![
            ("listen_addresses".to_owned(), address_of(id).to_string()),
            ("cluster_name".to_owned(), id_text(id)),
        ];
        Self {
            id,
            files,
            clock,
            speed,
            slowed: None,
            capacity_bytes: u64::MAX,
            settings,
            run: None,
            program: None,
            state: watch::Sender::new(State::Down),
        }
    }

    /// Which one it is.
    pub fn id(&self) -> NodeId {
        self.id
    }
    /// Its files as they are now.
    pub fn files(&self) -> &VirtualDisk {
        self.run.as_ref().map_or(&self.files, |run| run.machine.disk.files())
    }
    /// The small files that its server has written in this life and a power cut would take, each with since
    /// when.
    pub fn unsettled(&self) -> Vec<(PathBuf, Instant)> {
        self.run.as_ref().map_or_else(Vec::new, |run| run.machine.disk.unsettled())
    }
    /// Its clock.
    pub fn clock(&self) -> &NodeClock {
        &self.clock
    }
    /// Whether its server's process is there.
    pub fn is_up(&self) -> bool {
        self.run.is_some()
    }
    /// Whether a program works on its files.
    pub fn has_program(&self) -> bool {
        self.program.is_some()
    }
    /// Its life, if its server's process is there.
    pub fn life(&self) -> Option<Life> {
        self.run.as_ref().map(|run| run.life)
    }
    /// How its server is.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }
    /// Tells when that changes.
    pub fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
    /// Whether its server has ended by itself.
    pub fn has_ended(&self) -> bool {
        matches!(*self.state.borrow(), State::Ended(_))
    }
    /// Limits its disk's space.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = bytes;
        self.files().set_capacity(bytes);
    }

    /// Has its disk take up to so many microseconds for a call; without that, as long as it takes by itself.
    pub fn slow_down(&mut self, us: Option<u64>) {
        self.slowed = us.map(|us| DiskSpeed { sync_us: us / 2..=us, write_us: us / 4..=us });
        if let Some(run) = &self.run {
            run.machine.disk.set_speed(self.slowed.clone().unwrap_or_else(|| self.speed.clone()));
        }
    }

    pub(super) fn start(&mut self, life: Life, seed: u64, story: &Arc<Story>) {
        let speed = self.slowed.as_ref().unwrap_or(&self.speed).clone();
        let machine = Machine::new(&self.files, &self.clock, speed, seed);
        let (orders, received) = mpsc::unbounded_channel();
        let (told, name) = (story.clone(), id_text(self.id));
        let options = ServerOptions {
            host: machine.host.clone(),
            data_dir: DATA.into(),
            settings: self.settings.clone(),
            log: Arc::new(move |line| told.tell(&name, without_time(line))),
            signals: false,
            sockets_optional: false,
            starts_again: true,
        };
        self.state.send_replace(State::Starting);
        let state = self.state.clone();
        // Ends with the server; what it gives is in the state.
        drop(fiber::run_in(life, "server", serve(options, received, state)));
        self.run = Some(Run { life, machine, orders });
    }

    pub(super) fn order(&self, order: Order) {
        if let Some(run) = &self.run {
            // A server that has ended hears nothing.
            let _ = run.orders.send(order);
        }
    }

    /// Ends its server's process, or the program that works on its files. Without a policy the machine goes
    /// on: its kernel has what was not synced.
    pub(super) fn die(&mut self, policy: Option<CrashPolicy>) {
        let (run, program) = (self.run.take(), self.program.take());
        let machine = run.as_ref().map(|run| &run.machine).or(program.as_ref());
        if let Some(machine) = machine {
            let files = machine.disk.files();
            self.files = policy.map_or_else(|| files.fork(), |policy| files.crash(policy));
            self.files.set_capacity(self.capacity_bytes);
        }
        // What they hold belongs to fibers that are never resumed.
        std::mem::forget((run, program));
        self.state.send_replace(State::Down);
    }

    /// A machine with an empty disk, for a clone, which [`Node::take`] makes this node's own.
    pub(super) fn clean(&self, seed: u64) -> (VirtualDisk, Machine) {
        let files = VirtualDisk::new();
        files.set_capacity(self.capacity_bytes);
        let machine = Machine::new(&files, &self.clock, self.speed.clone(), seed);
        (files, machine)
    }

    /// The machine for a program that works on its files.
    pub(super) fn begin_program(&mut self, seed: u64) -> Machine {
        // What a server that was killed has left, by which rules know servers' directories.
        let _ = self.files.remove_file(&Path::new(DATA).join("postmaster.pid"));
        let machine = Machine::new(&self.files, &self.clock, self.speed.clone(), seed);
        self.program = Some(machine.clone());
        machine
    }

    /// Has other files from now on; its server must be down.
    pub(super) fn take(&mut self, files: VirtualDisk) {
        self.files = files;
    }
}

/// A server's life, over all that it begins in one process: one that has handed its role over starts again.
async fn serve(options: ServerOptions, orders: mpsc::UnboundedReceiver<Order>, state: watch::Sender<State>) {
    let reins = Arc::new(Reins { control: watch::Sender::new(None), unheeded: Mutex::new(None) });
    let obeys = tokio::spawn(task(obey(reins.clone(), orders, options.log.clone())));
    let mut carried = Carried::default();
    let ended = loop {
        let begun = |control| reins.pass_to(control);
        match live(options.clone(), carried, begun, &state).await {
            Ok(Ending::Again(next)) => carried = *next,
            Ok(Ending::Stopped) => break Ok(()),
            Err(error) => break Err(error.message),
        }
        reins.control.send_replace(None);
        state.send_replace(State::Starting);
    };
    obeys.abort();
    state.send_replace(State::Ended(ended));
}

/// One of them.
async fn live(
    options: ServerOptions,
    carried: Carried,
    begun: impl FnOnce(Control),
    state: &watch::Sender<State>,
) -> Result<Ending, ServerError> {
    let server = Server::start_again(options, carried, begun).await?;
    state.send_replace(State::Up);
    server.join().await
}

/// What a process is told by.
struct Reins {
    /// The server that it has now, as soon as that heeds signals.
    control: watch::Sender<Option<Control>>,
    /// A stop that was asked for. A server that has heeded it does not start again.
    unheeded: Mutex<Option<StopMode>>,
}

impl Reins {
    /// Another server begins. A stop that came too late for the one before is its own: signals are not lost.
    fn pass_to(&self, control: Control) {
        if let Some(mode) = *self.unheeded.lock() {
            control.stop(mode);
        }
        self.control.send_replace(Some(control));
    }
}

/// Hands on what a server is asked for, from the moment at which it heeds signals.
async fn obey(reins: Arc<Reins>, mut orders: mpsc::UnboundedReceiver<Order>, log: LogSink) {
    let mut controls = reins.control.subscribe();
    while let Some(order) = orders.recv().await {
        let control = match controls.wait_for(Option::is_some).await {
            Ok(control) => control.clone(),
            Err(_) => return,
        };
        let Some(control) = control else { return };
        match order {
            Order::Stop(mode) => {
                let mut unheeded = reins.unheeded.lock();
                *unheeded = (*unheeded).max(Some(mode));
                control.stop(mode);
            }
            Order::Reload => control.reload(),
            Order::Promote => {
                if let Err(error) = control.promote() {
                    log(&format!("promotion refused: {}", error.message));
                }
            }
        }
    }
}

/// A line of a server's log without its wall time and process: the story has its own.
fn without_time(line: &str) -> &str {
    line.split_once("] ").map_or(line, |(_, rest)| rest).trim_end()
}
