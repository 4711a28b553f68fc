//! What users run has nothing of the simulator in it: no crate of it, and no switch of `host`. Nor has what
//! an ordinary build of the whole workspace makes, where cargo gives each crate the features that any member
//! asks for: so no member may ask for `host/simulated` unless it is told to.

use scenarios::project_root;
use std::process::Command;

#[test]
fn what_users_run_contains_no_simulator() {
    let ordinary = tree(&["-p", "tools", "-e", "normal", "-f", "{p}"]);
    assert!(ordinary.iter().any(|line| line.starts_with("server ")), "{ordinary:?}");
    assert_eq!(of_the_simulator(&ordinary), [""; 0]);
    let own = tree(&["-p", "tools", "-e", "normal", "-f", "{p}", "--features", "simulate"]);
    let names = of_the_simulator(&own);
    assert_eq!(names, ["simulated", "simulation", "simulator"], "is the tree's form still read?");
}

#[test]
fn a_build_of_the_workspace_leaves_threads_and_locks_as_they_are() {
    let ordinary = ["--workspace", "-f", "{p} features {f}"];
    assert!(!host_is_simulated(&ordinary), "a member of the workspace switches host/simulated on");
    let own = [&ordinary[..], &["--features", "simulator/simulated"]].concat();
    assert!(host_is_simulated(&own), "is the tree's form still read?");
}

/// The lines of cargo's tree, each once.
fn tree(options: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none"])
        .args(options)
        .current_dir(project_root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// Which of the simulator's crates a tree names.
fn of_the_simulator(lines: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    names.retain(|name| ["simulated", "simulation", "simulator"].contains(name));
    names.dedup();
    names
}

fn host_is_simulated(options: &[&str]) -> bool {
    let lines = tree(options);
    let features = lines.iter().filter(|line| line.starts_with("host v"));
    let features: Vec<&str> =
        features.filter_map(|line| line.split_once(" features ")).map(|two| two.1).collect();
    assert!(!features.is_empty(), "no line of host: {lines:?}");
    features.iter().any(|features| features.contains("simulated"))
}
