//! Crate dependencies point down only: the layers of ARCHITECTURE.md, held by the manifests themselves.

mod edges;
mod ordinary;
mod rooms;
mod seams;
mod sizes;
mod sources;

use scenarios::project_root;
use std::collections::BTreeMap;
use std::process::Command;

/// Lowest first; a crate may depend only on crates of a lower floor.
const FLOORS: &[&[&str]] = &[
    &["simulated"],
    &["host", "durability", "sqlstate", "identifier"],
    &["sql_types", "settings", "protocol", "simulation"],
    &["wal"],
    &["storage"],
    &["sql_interface"],
    &["sql_catalogue"],
    &["sql_language"],
    &["sql_execution"],
    &["replica", "basebackup", "sql_session"],
    &["rewind"],
    &["server"],
    &["plimsoll", "simulator"],
    &["tools"],
    &["scenarios", "fuzzing", "benches"],
];

#[test]
fn crate_dependencies_point_down_only() {
    let floors: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, crates)| crates.iter().map(move |name| (*name, floor)))
        .collect();
    let mut seen = 0;
    for (name, dependencies) in manifests() {
        let floor = floors
            .get(name.as_str())
            .unwrap_or_else(|| panic!("crate {name} has no floor: add it to FLOORS"));
        for dependency in dependencies {
            if let Some(below) = floors.get(dependency.as_str()) {
                assert!(below < floor, "{name} (floor {floor}) depends on {dependency} (floor {below})");
                seen += 1;
            }
        }
    }
    assert!(
        seen > 15,
        "only {seen} dependencies between our crates were seen: is the manifest's form still read?"
    );
}

/// Every workspace member with the names it depends on in any way.
fn manifests() -> Vec<(String, Vec<String>)> {
    let text = |value: &serde_json::Value| value.as_str().expect("a name").to_owned();
    metadata()["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            (
                text(&package["name"]),
                dependencies.iter().map(|dependency| text(&dependency["name"])).collect(),
            )
        })
        .collect()
}

/// What cargo says of the workspace.
fn metadata() -> serde_json::Value {
    let root = project_root();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}
