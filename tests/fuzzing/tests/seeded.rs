//! A share of each target's inputs, as a seed makes them: as many as take some seconds. `PLIMSOLL_SEED`
//! replays a run.

use fuzzing::{Fault, Target, targets};

/// Runs so many inputs, and fails with each fault's input.
fn share(target: &Target, inputs: u64) {
    let seed = std::env::var("PLIMSOLL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let ran = fuzzing::run(target, seed, |done, _| done >= inputs);
    println!("{}: seed {seed}, {} inputs, {:.0} a second", target.name, ran.inputs, ran.rate());
    let told = |fault: &Fault| format!("{}\n    {}", fault.what, fault.input.escape_ascii());
    let faults: Vec<String> = ran.faults.iter().map(told).collect();
    assert!(faults.is_empty(), "{} of seed {seed}:\n{}", target.name, faults.join("\n"));
}

#[test]
fn no_message_of_a_client_is_a_fault() {
    share(targets::find("decoder").unwrap(), 200_000);
}

#[test]
fn no_message_of_a_server_is_a_fault() {
    share(targets::find("client").unwrap(), 100_000);
}

#[test]
fn no_replication_command_is_a_fault() {
    share(targets::find("replication").unwrap(), 100_000);
}

#[test]
fn no_statement_is_a_fault() {
    share(targets::find("sql").unwrap(), 5_000);
}

#[test]
fn no_copy_data_are_a_fault() {
    share(targets::find("copy").unwrap(), 50_000);
}

#[test]
fn no_connection_string_is_a_fault() {
    share(targets::find("conninfo").unwrap(), 100_000);
}

#[test]
fn no_configuration_file_is_a_fault() {
    share(targets::find("settings").unwrap(), 20_000);
}

#[test]
fn no_login_file_is_a_fault() {
    share(targets::find("hba").unwrap(), 50_000);
}

#[test]
fn a_fault_is_found_and_told() {
    let target = Target {
        name: "none",
        inputs: || vec![b"abc".to_vec()],
        words: &[],
        memory_bytes: 1 << 20,
        memory_factor: 0,
        open: || {
            Box::new(|input| {
                assert!(input.len() < 20, "too long");
                let _ = std::hint::black_box(Vec::<u8>::with_capacity(if input.contains(&0) {
                    2 << 20
                } else {
                    0
                }));
            })
        },
    };
    let ran = fuzzing::run(&target, 1, |done, _| done >= 10_000);
    let kinds: Vec<&str> = ran.faults.iter().map(|fault| fault.what.as_str()).collect();
    assert!(kinds.contains(&"panics: too long"), "{kinds:?}");
    assert!(kinds.contains(&"asks for more memory than its length allows"), "{kinds:?}");
}
