//! Runs plans.

use super::child;
use super::outcome::Outcome;
use super::totals::Totals;
use crate::cluster::Image;
use crate::machine::{Ended, in_own_processes, keep_memory, simulate};
use crate::plan::Plan;
use crate::shrink::{Shrunk, shrink};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use simulated::{NodeId, Schedule};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// How long a run that is over its time may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How plans are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many at a time.
    pub jobs: usize,
    /// Time of a processor that one run may take.
    pub limit: Duration,
    /// A planted bug that is on.
    pub bug: Option<&'static str>,
    /// Whether runs that pass hand over their stories, too.
    pub stories: bool,
}

/// What runs plans.
#[derive(Debug)]
pub struct Runner {
    image: Image,
    options: Options,
}

impl Runner {
    /// Makes the files that nodes begin with.
    ///
    /// # Errors
    ///
    /// What init says, or the system gives no thread.
    pub fn new(options: Options) -> Result<Self, String> {
        keep_memory();
        // In a thread of its own, as the runs are: nothing that this process did before changes the files.
        let make = || simulate(0, Schedule::default(), |world, _| Image::make(world, NodeId(1), 7));
        let made = std::thread::Builder::new().spawn(make).map(std::thread::JoinHandle::join);
        let made = made.and_then(|made| made.unwrap_or_else(|_| Err(io::Error::other("init panics"))));
        let (image, _) = made.map_err(|error| error.to_string())?;
        Ok(Self { image: image?, options })
    }

    /// The same with another bug on, or none: the files have nothing of it.
    #[must_use]
    pub fn with_bug(&self, bug: Option<&'static str>) -> Self {
        Self { image: self.image.clone(), options: Options { bug, ..self.options.clone() } }
    }

    /// Runs plans; `each` is told of every one as it ends. The calling process must have one thread.
    ///
    /// # Errors
    ///
    /// The system gives no process.
    pub fn run(
        &self,
        plans: impl Iterator<Item = Plan>,
        mut each: impl FnMut(&Plan, &Outcome),
    ) -> io::Result<Totals> {
        let (begun, before) = (Instant::now(), processor_time()?);
        let mut totals = Totals::default();
        let Options { jobs, limit, bug, stories } = self.options;
        let work = |plan: &Plan, out: File| child::run(plan, (&self.image, bug), (limit, stories), out);
        in_own_processes((jobs, limit * child::STARVED + LAST_WORDS), plans, work, |plan, ended| {
            let outcome = outcome_of(ended);
            totals.add(plan.seed, &outcome);
            each(&plan, &outcome);
        })?;
        totals.real = begun.elapsed();
        totals.processor = processor_time()?.saturating_sub(before);
        Ok(totals)
    }

    /// What one plan comes to.
    ///
    /// # Errors
    ///
    /// The system gives no process.
    pub fn run_one(&self, plan: &Plan) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        self.run(std::iter::once(plan.clone()), |_, one| outcome = one.clone())?;
        Ok(outcome)
    }

    /// Shortens a plan that fails, as long as its failure is of the same kind, by at most so many runs.
    ///
    /// # Errors
    ///
    /// The system gives no process.
    pub fn shrink(&self, plan: &Plan, kind: &str, runs_max: usize) -> io::Result<Shrunk> {
        let mut broken = None;
        let shrunk = shrink(plan, runs_max, |plan| match self.run_one(plan) {
            Ok(outcome) => outcome.kind() == Some(kind),
            Err(error) => {
                broken = Some(error);
                false
            }
        });
        broken.map_or(Ok(shrunk), Err)
    }
}

/// What the processes that have ended took of processors.
fn processor_time() -> io::Result<Duration> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// What a process that has ended had to say.
pub fn outcome_of(ended: Ended) -> Outcome {
    let parse = |said: Vec<u8>| Outcome::parse(&String::from_utf8_lossy(&said));
    let (told, otherwise) = match ended {
        Ended::Said(said) => (parse(said), "half a report: its process ended".to_owned()),
        // One that died after it had said how it failed is no news.
        Ended::Died(how, said) => {
            (parse(said).filter(|told| told.failure.is_some()), format!("its process died {how}"))
        }
        Ended::Late(said) => (parse(said), "too long: its process was killed".to_owned()),
    };
    told.unwrap_or_else(|| Outcome::failed(otherwise, String::new()))
}
