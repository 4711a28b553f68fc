//! Tries planted bugs: `bugs clean FROM TO` names the seeds at which nothing is wrong without one, and
//! `bugs try SEED,SEED,... [BUG]...` tries each bug, or those named, at each seed until one finds it.

#![allow(clippy::unwrap_used, reason = "a try")]

use simulated::{NodeId, Schedule, planted};
use simulator::bugs;
use simulator::cluster::Image;
use simulator::director;
use simulator::machine::{Ended, in_own_process, simulate};
use simulator::plan::Plan;
use std::time::Duration;

/// A run that takes longer never ends.
const LIMIT: Duration = Duration::from_secs(40);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (image, _) =
        simulate(0, Schedule::default(), |world, _| async move { Image::make(world, NodeId(1), 7).await })
            .unwrap();
    let image = image.unwrap();
    match args[0].as_str() {
        "clean" => {
            for seed in args[1].parse().unwrap()..args[2].parse().unwrap() {
                let (_, failure) = run(&image, seed, None);
                println!("{seed} {}", failure.as_deref().unwrap_or("clean"));
            }
        }
        _ => {
            let seeds: Vec<u64> = args[1].split(',').map(|seed| seed.parse().unwrap()).collect();
            for bug in
                bugs::ALL.iter().filter(|bug| args.len() < 3 || args[2..].iter().any(|one| one == bug.name))
            {
                try_bug(&image, &seeds, bug.name);
            }
        }
    }
}

fn try_bug(image: &Image, seeds: &[u64], bug: &'static str) {
    let mut met = 0;
    for (tried, seed) in seeds.iter().enumerate() {
        let (here, failure) = run(image, *seed, Some(bug));
        met += here;
        if let Some(failure) = failure {
            println!("CAUGHT|{bug}|{}|{seed}|{met}|{failure}", tried + 1);
            return;
        }
    }
    println!("MISSED|{bug}|{}||{met}|", seeds.len());
}

/// How often the bug was met, and what was found.
fn run(image: &Image, seed: u64, bug: Option<&'static str>) -> (u64, Option<String>) {
    let ended = in_own_process(LIMIT, |out| {
        planted::plant(bug);
        let plan = Plan::of_seed(seed);
        let schedule = Schedule { put_off: 2000, at_locks: 300 };
        let (report, _) = simulate(seed, schedule, |world, network| async move {
            director::run(&plan, world, network, image).await
        })?;
        write!(out, "{} {}", planted::met(), report.failure.unwrap_or_default())
    });
    match ended.unwrap() {
        Ended::Said(said) => {
            let said = String::from_utf8_lossy(&said).replace('\n', " ");
            let (met, failure) = said.split_once(' ').unwrap();
            let failure: String = failure.chars().take(300).collect();
            (met.parse().unwrap(), (!failure.is_empty()).then_some(failure))
        }
        Ended::Died(how, _) => (1, Some(format!("the process died: {how}"))),
        Ended::Late(_) => (1, Some("the process never ended".to_owned())),
    }
}
