//! The simulation of this thread: its nodes, its seed, and what is remembered of its course.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

/// A machine of the simulated cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// One run of a node's process, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// The machine.
    pub node: NodeId,
    /// Counts its runs.
    pub number: u32,
}

impl Life {
    /// A number for its process: no other life of the simulation has it.
    pub fn process_id(self) -> u32 {
        1_000_000 + u32::from(self.node.0) * 1000 + self.number
    }
}

/// How often the order of fibers is shuffled, in chances of 65,536.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// That a fiber which could go on is put behind all others.
    pub put_off: u16,
    /// That a fiber lets the others go first before it takes a lock.
    pub at_locks: u16,
    /// That a fiber stands still for a while before it takes a lock, as a thread does whose processor is
    /// taken away.
    pub stalls: u16,
}

/// The shortest stall, and how many times it may be doubled.
const STALL: (Duration, u32) = (Duration::from_micros(50), 8);

#[derive(Debug, Default)]
struct Machine {
    life: u32,
    runs: bool,
    frozen: bool,
    /// Fibers whose turn came while it was frozen.
    held: Vec<Waker>,
}

#[derive(Debug)]
struct State {
    machines: BTreeMap<NodeId, Machine>,
    schedule: Schedule,
    random: fastrand::Rng,
    next_fiber: u64,
    resumes: u64,
    trace: Trace,
}

/// FNV-1a over all that happened, the same in every build.
#[derive(Clone, Copy, Debug)]
struct Trace(u64);

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
    /// When it was first looked at the time.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What a look at the simulation says of a fiber that is about to go on.
pub(crate) enum Turn {
    /// It may.
    Go,
    /// Others first.
    Later,
    /// Its node is frozen: it is woken when that ends.
    Held,
    /// Its life is over.
    Never,
}

/// The simulation of this thread.
#[derive(Clone, Copy, Debug)]
pub struct World(());

impl World {
    /// Begins the simulation of this thread, whose choices all follow from `seed`. One that was there before
    /// is forgotten.
    pub fn begin(seed: u64, schedule: Schedule) -> Self {
        let state = State {
            machines: BTreeMap::new(),
            schedule,
            random: fastrand::Rng::with_seed(seed),
            next_fiber: 0,
            resumes: 0,
            trace: Trace(0xcbf2_9ce4_8422_2325),
        };
        STATE.with_borrow_mut(|world| *world = Some(state));
        BEGUN.set(None);
        Self(())
    }

    /// The simulation that this thread is in, if any.
    pub fn current() -> Option<Self> {
        STATE.with_borrow(|state| state.is_some().then_some(Self(())))
    }

    fn with<T>(self, look: impl FnOnce(&mut State) -> T) -> T {
        STATE.with_borrow_mut(|state| match state {
            Some(state) => look(state),
            None => unreachable!("a World is only made when there is one"),
        })
    }

    /// How the order of fibers is shuffled.
    pub fn schedule(self) -> Schedule {
        self.with(|state| state.schedule)
    }

    /// Changes how the order of fibers is shuffled.
    pub fn set_schedule(self, schedule: Schedule) {
        self.with(|state| state.schedule = schedule);
    }

    /// Begins a life of a node, which must not be running.
    pub fn start(self, node: NodeId) -> Life {
        self.with(|state| {
            let machine = state.machines.entry(node).or_default();
            machine.life += 1;
            machine.runs = true;
            machine.frozen = false;
            Life { node, number: machine.life }
        })
    }

    /// Ends a node's life: nothing of it is ever resumed again.
    pub fn end(self, node: NodeId) {
        self.with(|state| {
            if let Some(machine) = state.machines.get_mut(&node) {
                machine.runs = false;
                machine.frozen = false;
                machine.held.clear();
            }
        });
    }

    /// Whether a life goes on.
    pub fn is_running(self, life: Life) -> bool {
        self.with(|state| state.is_running(life))
    }

    /// Stops all fibers of a node where they are, until [`World::thaw`].
    pub fn freeze(self, node: NodeId) {
        self.with(|state| {
            if let Some(machine) = state.machines.get_mut(&node) {
                machine.frozen = machine.runs;
            }
        });
    }

    /// Lets a frozen node go on.
    pub fn thaw(self, node: NodeId) {
        let held = self.with(|state| match state.machines.get_mut(&node) {
            Some(machine) => {
                machine.frozen = false;
                std::mem::take(&mut machine.held)
            }
            None => Vec::new(),
        });
        held.into_iter().for_each(Waker::wake);
    }

    /// Adds something that happened to the trace.
    pub fn note(self, what: impl Hash) {
        self.with(|state| what.hash(&mut state.trace));
    }

    /// A number that differs between runs in which anything differed, and how often a fiber was resumed.
    pub fn trace(self) -> (u64, u64) {
        self.with(|state| (state.trace.finish(), state.resumes))
    }

    pub(crate) fn new_fiber(self) -> u64 {
        self.with(|state| {
            state.next_fiber += 1;
            state.next_fiber
        })
    }

    pub(crate) fn turn(self, life: Life, fiber: u64, waker: &Waker) -> Turn {
        let now = now_ns();
        self.with(|state| {
            if !state.is_running(life) {
                return Turn::Never;
            }
            if let Some(machine) = state.machines.get_mut(&life.node)
                && machine.frozen
            {
                machine.held.push(waker.clone());
                return Turn::Held;
            }
            if state.random.u16(..) < state.schedule.put_off {
                return Turn::Later;
            }
            state.resumes += 1;
            (now, fiber).hash(&mut state.trace);
            Turn::Go
        })
    }

    pub(crate) fn lets_others_at_lock(self) -> bool {
        self.with(|state| state.random.u16(..) < state.schedule.at_locks)
    }

    /// For how long a fiber stands still before it takes a lock; None mostly.
    pub(crate) fn stalls_at_lock(self) -> Option<Duration> {
        self.with(|state| {
            let stalls = state.schedule.stalls > 0 && state.random.u16(..) < state.schedule.stalls;
            stalls.then(|| STALL.0 * (1 << state.random.u32(..=STALL.1)))
        })
    }
}

impl State {
    fn is_running(&self, life: Life) -> bool {
        self.machines.get(&life.node).is_some_and(|machine| machine.runs && machine.life == life.number)
    }
}

/// Nanoseconds of simulated time since this was first asked.
fn now_ns() -> u128 {
    let now = Instant::now();
    let begun = BEGUN.get().unwrap_or_else(|| {
        BEGUN.set(Some(now));
        now
    });
    now.duration_since(begun).as_nanos()
}
