//! `fuzz TARGET --minutes M [--seed S]`: runs a target for some time of a processor, and prints a line for
//! tests/LONG_RUNS.md. An input that is a fault goes into a file beside it, from where it is to move into
//! `regressions/TARGET`.

use fuzzing::{Target, targets};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((target, minutes, seed)) = read(&arguments) else {
        let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
        eprintln!("usage: fuzz TARGET --minutes M [--seed S]\ntargets: {}", names.join(", "));
        return ExitCode::from(2);
    };
    let limit = Duration::from_secs_f64(minutes * 60.0);
    let ran = fuzzing::run(target, seed, |_, spent| spent >= limit);
    for (at, fault) in ran.faults.iter().enumerate() {
        let file = format!("fault-{}-{seed}-{at}", target.name);
        println!("{file}: {}", fault.what);
        if let Err(error) = std::fs::write(&file, &fault.input) {
            println!("could not write {file}: {error}: {}", fault.input.escape_ascii());
        }
    }
    let (inputs, seconds, rate, faults) = (ran.inputs, ran.processor.as_secs(), ran.rate(), ran.faults.len());
    println!("| {} | {seed} | {seconds} s | {inputs} | {rate:.0} | {faults} |", target.name);
    ExitCode::from(u8::from(!ran.faults.is_empty()))
}

/// Target, minutes and seed.
fn read(arguments: &[String]) -> Option<(&'static Target, f64, u64)> {
    let (name, rest) = arguments.split_first()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (mut minutes, mut seed) = (None, now);
    for pair in rest.chunks(2) {
        match pair {
            [option, value] if option == "--minutes" => {
                minutes = Some(value.parse().ok().filter(|m| *m > 0.0)?)
            }
            [option, value] if option == "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((targets::find(name)?, minutes?, seed))
}
