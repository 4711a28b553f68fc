//! Bad input by the million: for each place where bytes from outside become something that the server acts
//! on, a target that takes any bytes, and a mutator that makes them from inputs that mean something.
//!
//! An input is a fault of the product if it panics, takes more than [`SECONDS_MAX`] of a processor, asks for
//! more memory than the target allows for its length, or breaks what the target says must hold (what is
//! decoded and encoded again is the same, a position lies inside of the text). Seeds decide all: a run is
//! replayed by its seed. Each fault that was found leaves its input in `regressions/TARGET`, and every run
//! begins with these.
//!
//! It knows nothing of coverage: long runs are many short ones from many seeds. `tests/seeded.rs` has the
//! short form, the program `fuzz` the long one.

pub mod memory;
mod mutator;
pub mod targets;

pub use mutator::Mutator;

use nix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

/// Seconds of a processor that one input may take. The slowest honest one takes some milliseconds.
pub const SECONDS_MAX: u64 = 2;

/// What takes inputs. It panics where one breaks what must hold.
pub type Take = Box<dyn FnMut(&[u8])>;

/// A place where bytes from outside come in.
pub struct Target {
    /// Its name, as the command line and the folder of its regressions have it.
    pub name: &'static str,
    /// Inputs that mean something, to begin with.
    pub inputs: fn() -> Vec<Vec<u8>>,
    /// Pieces that mean something inside of an input.
    pub words: &'static [&'static str],
    /// Bytes of memory that an input may ask for at a time, besides `memory_factor` for each of its bytes.
    pub memory_bytes: usize,
    /// Bytes of memory for each byte of input.
    pub memory_factor: usize,
    /// Makes what takes the inputs.
    pub open: fn() -> Take,
}

/// An input that is a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The input.
    pub input: Vec<u8>,
    /// What it did.
    pub what: String,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Ran {
    /// How many inputs it ran.
    pub inputs: u64,
    /// What it took of a processor.
    pub processor: Duration,
    /// What it found, one of each kind.
    pub faults: Vec<Fault>,
}

impl Ran {
    /// Inputs a second of a processor.
    pub fn rate(&self) -> f64 {
        self.inputs as f64 / self.processor.as_secs_f64().max(1e-9)
    }
}

/// Runs the regressions of a target, its own inputs, and then what a seed makes of them, until `is_over`,
/// which is told how many inputs have run, and what they took of a processor.
pub fn run(target: &Target, seed: u64, is_over: impl Fn(u64, Duration) -> bool) -> Ran {
    quiet_panics();
    let known = [regressions(target), (target.inputs)()].concat();
    let mut ran = Ran::default();
    let mut take = (target.open)();
    let note = |fault: Option<Fault>, ran: &mut Ran, take: &mut Take| {
        ran.inputs += 1;
        let Some(fault) = fault else { return };
        // What has panicked may be in any state.
        *take = (target.open)();
        if ran.faults.iter().all(|known| known.what != fault.what) {
            ran.faults.push(fault);
        }
    };
    let begun = processor_time();
    let spent = || processor_time().saturating_sub(begun);
    for input in &known {
        let fault = one(target, &mut take, input);
        note(fault, &mut ran, &mut take);
    }
    let mut mutator = Mutator::new(seed, known, target.words);
    while !is_over(ran.inputs, spent()) {
        let fault = one(target, &mut take, mutator.make());
        note(fault, &mut ran, &mut take);
    }
    ran.processor = spent();
    ran
}

thread_local! {
    /// An input is being taken: a panic is its fault.
    static TAKING: Cell<bool> = const { Cell::new(false) };
}

/// Runs one input.
pub fn one(target: &Target, take: &mut dyn FnMut(&[u8]), input: &[u8]) -> Option<Fault> {
    let fault = |what| Some(Fault { input: input.to_vec(), what });
    let before = processor_time();
    TAKING.set(true);
    let (result, asked) = memory::peak(|| catch_unwind(AssertUnwindSafe(|| take(input))));
    TAKING.set(false);
    let took = processor_time().saturating_sub(before);
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        return fault(format!("panics: {}", text.unwrap_or_default()));
    }
    if took > Duration::from_secs(SECONDS_MAX) {
        return fault(format!("takes more than {SECONDS_MAX} s of a processor"));
    }
    let allowed = target.memory_bytes + target.memory_factor * input.len();
    (asked > allowed).then(|| fault("asks for more memory than its length allows".to_owned())).flatten()
}

/// The inputs of faults that were found before.
pub fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder(target)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files
        .iter()
        .map(|file| fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
        .collect()
}

/// Where a target's regressions lie.
pub fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target.name)
}

/// This thread's time on a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// A panic is told by the fault that it is, with its place.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !TAKING.get() {
                told(panic);
            }
        }));
    });
}
