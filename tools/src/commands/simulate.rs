//! `plimsoll simulate`: whole clusters in simulated time, with faults that a seed decides.
//!
//! In builds with the feature `simulate` alone.

use crate::output::{self, say};
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use simulator::bugs;
use simulator::plan::Plan;
use simulator::runner::{Catch, Failed, Options, Outcome, Runner, Totals, hunt};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs that a shortening may take.
const SHRINK_RUNS_MAX: usize = 400;
/// Columns of a failure that are printed.
const FAILURE_CHARS_MAX: usize = 300;

/// Options of `simulate`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["seed", "seeds", "story", "until_minutes"]))]
pub struct SimulateArgs {
    /// Run the story of this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run the stories of the seeds from A on, below B
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Run stories that files have
    #[arg(long, value_name = "FILE", num_args = 1..)]
    story: Vec<PathBuf>,
    /// Run seeds that were never run, until this many minutes have passed, and print a line for
    /// tests/LONG_RUNS.md
    #[arg(long, value_name = "MINUTES")]
    until_minutes: Option<f64>,
    /// Runs at a time [default: the processors]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Print the shortest story that fails in the same way, for the first failure of each kind
    #[arg(long)]
    shrink: bool,
    /// Print what happened: events, logs, what clients met
    #[arg(long, conflicts_with = "until_minutes")]
    tell: bool,
    /// Run each story twice, and fail unless both take the same course
    #[arg(long)]
    twice: bool,
    /// Fail, too, if any of the rare states was never reached
    #[arg(long)]
    all_states: bool,
    /// Switch on a bug that is planted in the code
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// Switch on each planted bug in turn, or that of --bug alone, and run seeds until each was caught so
    /// many times
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u16).range(1..),
        conflicts_with_all = ["seed", "story", "until_minutes", "twice", "tell", "shrink", "all_states"])]
    hunt: Option<u16>,
    /// Seconds of a processor that a run may take
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    time_limit: u32,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match ends {
        Some((from, to)) if from < to => Ok(from..to),
        _ => Err("expected A..B with A below B, as in 1..1001".to_owned()),
    }
}

/// Runs them, and prints what they came to. Gives the exit code: 1 if any failed.
pub fn run(arguments: &SimulateArgs) -> Result<u8> {
    let jobs = match arguments.jobs {
        Some(jobs) => usize::from(jobs),
        None => std::thread::available_parallelism()?.get(),
    };
    let stories = read_stories(&arguments.story)?;
    let options = Options {
        jobs,
        limit: Duration::from_secs(u64::from(arguments.time_limit)),
        bug: arguments.bug.as_deref().map(planted).transpose()?,
        stories: arguments.tell,
    };
    let bug = options.bug;
    let runner = Runner::new(options).map_err(|error| anyhow!("could not begin: {error}"))?;
    if let (Some(times), Some(seeds)) = (arguments.hunt, &arguments.seeds) {
        return hunt_all(&runner, bug, usize::from(times), seeds);
    }
    let mut show = Show { arguments, stories: &stories, hashes: BTreeMap::new(), strayed: BTreeSet::new() };
    let times = 1 + usize::from(arguments.twice);
    let plans = plans(arguments, &stories)?.take_while(|_| !is_unread());
    let plans = plans.flat_map(|plan| std::iter::repeat_n(plan, times));
    let totals = runner.run(plans, |plan, outcome| show.one(plan, outcome))?;
    let strayed = show.strayed.len();
    output::text(summary(&totals, arguments.bug.as_deref(), arguments.all_states));
    say!("course {:x}", show.course());
    if arguments.twice {
        say!("{strayed} of {} stories took two courses", show.hashes.len());
    }
    if arguments.until_minutes.is_some() {
        say!("{}", line_of_long_run(&totals, show.hashes.keys().next().copied().unwrap_or_default()));
    }
    if arguments.shrink {
        shorten(&runner, &totals, &stories)?;
    }
    let missed = arguments.all_states && !totals.rare.never().is_empty();
    // Who reads no more has not read of what was left out.
    Ok(u8::from(!totals.failed.is_empty() || strayed > 0 || missed || is_unread()))
}

/// Whether what is said from now on is read by nobody. Hours may pass without a word by which that would
/// show.
fn is_unread() -> bool {
    let out = std::io::stdout();
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let is_broken = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|found| found > 0)
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
    output::is_over() || is_broken
}

/// The planted bug of a name.
fn planted(name: &str) -> Result<&'static str> {
    let bug = bugs::ALL.iter().find(|bug| bug.name == name);
    bug.map(|bug| bug.name).ok_or_else(|| {
        let names: Vec<&str> = bugs::ALL.iter().map(|bug| bug.name).collect();
        anyhow!("there is no planted bug \"{name}\"; there are \"{}\"", names.join("\", \""))
    })
}

/// Hunts planted bugs, and prints a line of a table for each. Gives the exit code: 1 if one was not caught.
fn hunt_all(runner: &Runner, only: Option<&str>, times: usize, seeds: &Range<u64>) -> Result<u8> {
    let (mut missed, mut less) = (0, 0);
    say!("| bug | breaks | caught | median of seeds | how | came by |\n|---|---|---|---|---|---|");
    for bug in bugs::ALL.iter().filter(|bug| only.is_none_or(|name| name == bug.name)) {
        let catch = hunt(runner, bug.name, seeds.clone(), times, is_unread)?;
        if is_unread() {
            break;
        }
        let median = catch.median(seeds.start).map_or("-".to_owned(), |median| median.to_string());
        let kinds: BTreeSet<&str> = catch.caught.iter().map(Failed::kind).collect();
        let how = kinds.into_iter().collect::<Vec<_>>().join(", ");
        let Catch { seeds, caught, met } = catch;
        say!("| {} | {:?} | {} of {seeds} | {median} | {how} | {met} |", bug.name, bug.breaks, caught.len());
        missed += usize::from(caught.is_empty());
        less += usize::from(!caught.is_empty() && caught.len() < times);
    }
    say!("{missed} missed, {less} caught less than {times} times");
    // Who reads no more has not read of what was left out.
    Ok(u8::from(missed > 0 || is_unread()))
}

/// The stories of files, by their seeds; of a file that has nothing but a seed, that seed's own.
fn read_stories(files: &[PathBuf]) -> Result<BTreeMap<u64, (PathBuf, Plan)>> {
    let mut stories = BTreeMap::new();
    for file in files {
        let shown = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("could not read \"{shown}\""))?;
        let mut plan: Plan = text.parse().with_context(|| format!("\"{shown}\""))?;
        if plan.upstreams.is_empty() {
            ensure!(plan.events.is_empty(), "\"{shown}\" has events, and no nodes");
            plan = Plan::of_seed(plan.seed);
        }
        let seed = plan.seed;
        if let Some((other, _)) = stories.insert(seed, (file.clone(), plan)) {
            bail!("\"{shown}\" and \"{}\" have one seed, {seed}: run one at a time", other.display());
        }
    }
    Ok(stories)
}

fn plans(
    arguments: &SimulateArgs,
    stories: &BTreeMap<u64, (PathBuf, Plan)>,
) -> Result<Box<dyn Iterator<Item = Plan>>> {
    if let Some(minutes) = arguments.until_minutes {
        let limit = Duration::try_from_secs_f64(minutes * 60.0).context("--until-minutes")?;
        ensure!(!limit.is_zero(), "--until-minutes: no seed runs in no time");
        // Thousands of seeds a second would be needed to meet those of a later run.
        let first = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() * 1000;
        let begun = Instant::now();
        return Ok(Box::new((first..).take_while(move |_| begun.elapsed() < limit).map(Plan::of_seed)));
    }
    if let Some(seed) = arguments.seed {
        return Ok(Box::new(std::iter::once(Plan::of_seed(seed))));
    }
    Ok(match arguments.seeds.clone() {
        Some(seeds) => Box::new(seeds.map(Plan::of_seed)),
        None => Box::new(stories.values().map(|(_, plan)| plan.clone()).collect::<Vec<_>>().into_iter()),
    })
}

/// Tells of runs as they end.
struct Show<'a> {
    arguments: &'a SimulateArgs,
    stories: &'a BTreeMap<u64, (PathBuf, Plan)>,
    /// Of each seed's first run.
    hashes: BTreeMap<u64, (u64, u64)>,
    /// Seeds whose second run took another course.
    strayed: BTreeSet<u64>,
}

impl Show<'_> {
    fn one(&mut self, plan: &Plan, outcome: &Outcome) {
        let seed = plan.seed;
        let course = (outcome.hash, outcome.resumes);
        let first = *self.hashes.entry(seed).or_insert(course);
        if first != course {
            self.strayed.insert(seed);
            say!("seed {seed} took two courses: {first:x?} and {course:x?}");
        }
        if self.arguments.tell {
            let Outcome { hash, resumes, .. } = outcome;
            say!("{plan}\n{}\ncourse {hash:x}, fibers went on {resumes} times", outcome.story);
            outcome.failure.iter().for_each(|failure| say!("{failure}"));
        }
        if let Some(failure) = &outcome.failure {
            say!("seed {seed} failed: {}  [{}]", one_line(failure), self.replay(seed));
        }
    }

    /// What the courses of all seeds are told by: the same wherever and in whatever order they were run.
    fn course(&self) -> u64 {
        self.hashes.values().fold(0, |all: u64, (hash, _)| all.rotate_left(1) ^ hash)
    }

    /// The command that shows a run again.
    fn replay(&self, seed: u64) -> String {
        let story = match self.stories.get(&seed) {
            Some((file, _)) => format!("--story {}", quoted(&file.display().to_string())),
            None => format!("--seed {seed}"),
        };
        let bug =
            self.arguments.bug.as_ref().map(|bug| format!(" --bug {}", quoted(bug))).unwrap_or_default();
        format!("plimsoll simulate {story}{bug} --tell")
    }
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./".contains(char);
    if argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// A failure's text as a line that is not too long.
fn one_line(failure: &str) -> String {
    let line = failure.replace('\n', " ");
    match line.char_indices().nth(FAILURE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// The totals, for people.
fn summary(totals: &Totals, bug: Option<&str>, all_states: bool) -> String {
    let Totals { runs, operations, turns, .. } = totals;
    let (simulated, real) = (totals.simulated.as_secs(), totals.real.as_secs_f64());
    let processor = totals.processor.as_secs_f64();
    let mut text = format!(
        "{runs} runs, {} failed: {simulated} simulated seconds, {operations} operations, {turns} changes of \
         branch in {real:.1} s, {processor:.1} s of a processor\n",
        totals.failed.len()
    );
    if totals.without_turn > 0 {
        text += &format!("  in {} of them the branch never changed\n", totals.without_turn);
    }
    for (kind, seeds) in totals.kinds() {
        let some: Vec<String> = seeds.iter().take(10).map(u64::to_string).collect();
        let more = if seeds.len() > some.len() { ", ..." } else { "" };
        text += &format!("  {} of {kind}: {}{more}\n", seeds.len(), some.join(", "));
    }
    if let Some(bug) = bug {
        text += &format!("the bug '{bug}' was come by {} times\n", totals.met);
    }
    if *runs > 1 || all_states {
        text += "rare states:\n";
        text.extend(totals.rare.to_text().lines().map(|line| format!("  {line}\n")));
        let never: Vec<&str> = totals.rare.never().iter().map(|rare| rare.words()).collect();
        if !never.is_empty() {
            text += &format!("never reached: {}\n", never.join(", "));
        }
    }
    text
}

/// A line of tests/LONG_RUNS.md.
fn line_of_long_run(totals: &Totals, first: u64) -> String {
    let day = jiff::Zoned::now().date();
    let commit = env!("PLIMSOLL_COMMIT").get(..7).unwrap_or(env!("PLIMSOLL_COMMIT"));
    let outcome = match totals.failed.len() {
        0 => "all passed".to_owned(),
        failed => format!("{failed} failed"),
    };
    format!(
        "| {day} | {commit} | {} from {first} on | {} s | {} | {} | {outcome} in {:.0} s of a processor, {} rare states not reached |",
        totals.runs,
        totals.simulated.as_secs(),
        totals.operations,
        totals.turns,
        totals.processor.as_secs_f64(),
        totals.rare.never().len()
    )
}

/// Prints the shortest story for the first failure of each kind.
fn shorten(runner: &Runner, totals: &Totals, stories: &BTreeMap<u64, (PathBuf, Plan)>) -> Result<()> {
    for (kind, seeds) in totals.kinds() {
        let Some(seed) = seeds.first() else { continue };
        let plan = stories.get(seed).map_or_else(|| Plan::of_seed(*seed), |(_, plan)| plan.clone());
        let shrunk = runner.shrink(&plan, kind, SHRINK_RUNS_MAX)?;
        let (before, after) = (plan.events.len(), shrunk.plan.events.len());
        say!("\n# {kind}: {after} of {before} events, after {} runs", shrunk.runs);
        output::text(&shrunk.plan);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_quoted_for_a_shell() {
        assert_eq!(quoted("a/b-c_1.story"), "a/b-c_1.story");
        assert_eq!(quoted("a standby's log"), r"'a standby'\''s log'");
    }

    #[test]
    fn a_range_of_seeds_has_a_beginning_below_its_end() {
        assert_eq!(range("1..11"), Ok(1..11));
        for text in ["", "5", "5..", "..5", "5..5", "6..5", "1...5", "a..b"] {
            assert!(range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_summary_has_a_line_of_totals_and_one_a_kind_of_failure() {
        let mut totals = Totals::default();
        let passed =
            Outcome { operations: 70, turns: 2, simulated: Duration::from_secs(30), ..Outcome::default() };
        totals.add(1, &passed);
        totals.add(2, &passed);
        for seed in 3..15 {
            totals.add(seed, &Outcome::failed("Durable: x", String::new()));
        }
        let text = summary(&totals, Some("b"), false);
        let lines: Vec<&str> = text.lines().take(4).collect();
        assert_eq!(
            lines,
            [
                "14 runs, 12 failed: 60 simulated seconds, 140 operations, 4 changes of branch in 0.0 s, \
                 0.0 s of a processor",
                "  12 of Durable: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...",
                "the bug 'b' was come by 0 times",
                "rare states:",
            ]
        );
        assert_eq!(one_line(&format!("a\n{}", "\u{e9}".repeat(400))).chars().count(), FAILURE_CHARS_MAX + 3);
    }
}
