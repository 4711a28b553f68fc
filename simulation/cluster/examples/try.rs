//! Runs one seed.

#![allow(clippy::unwrap_used, reason = "a try")]

use simulated::{NodeId, Schedule};
use simulator::cluster::Image;
use simulator::director;
use simulator::machine::simulate;
use simulator::plan::Plan;

fn main() {
    let mut args = std::env::args().skip(1);
    let seed: u64 = args.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let story = args.next().is_some();
    let begun = std::time::Instant::now();
    let schedule = Schedule { put_off: 2000, at_locks: 300 };
    let (image, _) =
        simulate(0, Schedule::default(), |world, _| async move { Image::make(world, NodeId(1), 7).await })
            .unwrap();
    let image = image.unwrap();
    println!("image after {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    let plan = Plan::of_seed(seed);
    if story {
        println!("{plan}");
    }
    let (report, trace) = simulate(seed, schedule, |world, network| async move {
        director::run(&plan, world, network, &image).await
    })
    .unwrap();
    if story {
        println!("{}", report.story);
    }
    println!(
        "{:?} {:?} turns {} simulated {:?} in {:?}",
        report.failure,
        trace,
        report.turns,
        report.simulated,
        begun.elapsed()
    );
}
