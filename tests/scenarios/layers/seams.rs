//! Product code takes threads, tasks, locks, monotonic time, TCP sockets and processes from the crate `host`
//! alone, so that a simulator can put its own in their place.

use super::edges::folders;
use super::metadata;
use super::rooms::{flatten, is_test};
use super::sources::rust_files;
use scenarios::project_root;
use std::collections::BTreeSet;
use std::fs;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// What product code does not name, and what it names instead.
const NAMES: &[(&str, &str)] = &[
    ("parking_lot::", "host::sync"),
    ("std::sync::mpsc", "host::sync::channel"),
    ("std::thread::", "host::thread"),
    ("thread_local!", "host::thread::local!"),
    ("hint::spin_loop", "host::thread::spin"),
    ("stacker::", "host::thread::with_stack"),
    ("std::time::Instant", "host::Instant"),
    ("tokio::time::Instant", "host::Instant"),
    ("spawn_blocking", "host::task::blocking"),
    ("block_in_place", "host::task::in_place"),
    (".block_on(", "host::task::block_on"),
    (".blocking_recv(", "host::task::blocking_recv"),
    (".blocking_send(", "host::task::blocking_send"),
    ("tokio::net::Tcp", "host::net"),
    ("std::net::Tcp", "host::net"),
    ("socket2::", "host::net"),
    ("tokio::net::lookup_host", "host::net::TcpStream::connect"),
    ("process::Command", "host::ShellCommand"),
];
/// What is no wait and no thread: it may follow `std::thread::`.
const PANICKING: &str = "panicking()";
/// Files that name one of them all the same: file, name, reason.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("server/src/server.rs", ".block_on(", "the process's own runtime, where there is no simulator")];
/// Members whose code is none of the product's, or is what the names stand for.
const OTHERS: &[&str] =
    &["host", "simulated", "simulation", "simulator", "tools", "scenarios", "fuzzing", "benches"];

#[test]
fn threads_locks_and_time_come_from_the_host_alone() {
    let mut found = BTreeSet::new();
    let mut used = BTreeSet::new();
    for Code { file, text, imports } in product() {
        for (name, instead) in NAMES {
            let named =
                text.match_indices(name).any(|(at, _)| !text[at + name.len()..].starts_with(PANICKING));
            let module = name.trim_end_matches("::");
            let imported = imports.iter().any(|path| path == module || path.starts_with(name));
            if !(named || imported) {
                continue;
            }
            if EXCEPTIONS.iter().any(|(of, what, _)| (*of, what) == (file.as_str(), name)) {
                used.insert(file.clone());
            } else {
                found.insert(format!("{file} names {name}: take {instead}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.into_iter().collect::<Vec<_>>().join("\n"));
    assert_eq!(used.len(), EXCEPTIONS.len(), "an exception that nobody needs any more can go");
}

#[test]
fn every_future_that_becomes_a_task_is_wrapped_in_one() {
    let mut bare = Vec::new();
    let mut seen = 0;
    for Code { file, text, .. } in product() {
        for (at, call) in [".spawn(", "tokio::spawn("].iter().flat_map(|call| text.match_indices(call)) {
            seen += 1;
            if !text[at + call.len()..].trim_start().starts_with("task(") {
                bare.push(format!("{file}:{}: {call} of what is not in task(..)", line_of(&text, at)));
            }
        }
    }
    assert!(seen > 15, "only {seen} tasks were seen: is the code's form still read?");
    assert!(bare.is_empty(), "{}", bare.join("\n"));
}

#[test]
fn branches_of_a_select_are_looked_at_in_their_order() {
    let mut drawn = Vec::new();
    let mut seen = 0;
    for Code { file, text, .. } in product() {
        for (at, select) in text.match_indices("select! {") {
            seen += 1;
            if !text[at + select.len()..].trim_start().starts_with("biased;") {
                drawn.push(format!("{file}:{}: select! draws a branch: make it biased", line_of(&text, at)));
            }
        }
    }
    assert!(seen > 40, "only {seen} were seen: is the code's form still read?");
    assert!(drawn.is_empty(), "{}", drawn.join("\n"));
}

/// A file of the product, without its tests and comments; what it left out are empty lines.
struct Code {
    file: String,
    text: String,
    /// The paths that it imports.
    imports: Vec<String>,
}

fn product() -> Vec<Code> {
    let root = fs::canonicalize(project_root()).expect("the project's folder");
    let counts = |name: &str| !["tests", "tests.rs", "testing.rs"].contains(&name);
    let mut files = Vec::new();
    for package in metadata()["packages"].as_array().expect("packages") {
        if OTHERS.contains(&package["name"].as_str().expect("a name")) {
            continue;
        }
        for folder in folders(package, &["lib", "bin"]) {
            for path in rust_files(&folder, &counts) {
                let text = fs::read_to_string(&path).expect("a source file");
                let file = path.strip_prefix(&root).expect("below the root").display().to_string();
                files.push(code(file, &text));
            }
        }
    }
    assert!(files.len() > 200, "only {} files were seen", files.len());
    files
}

fn code(file: String, text: &str) -> Code {
    let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut parts = Parts::default();
    parts.visit_file(&syntax);
    let counts = |(at, line): (usize, &str)| {
        let is_test = parts.tests.iter().any(|(first, last)| (*first..=*last).contains(&(at + 1)));
        !is_test && !line.trim_start().starts_with("//")
    };
    let lines: Vec<&str> =
        text.lines().enumerate().map(|(at, line)| if counts((at, line)) { line } else { "" }).collect();
    Code { file, text: lines.join("\n"), imports: parts.imports }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where the tests of a file are, and what all else imports.
#[derive(Default)]
struct Parts {
    /// First and last line of each.
    tests: Vec<(usize, usize)>,
    imports: Vec<String>,
}

impl<'a> Visit<'a> for Parts {
    fn visit_item(&mut self, item: &'a syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            self.tests.push((item.span().start().line, item.span().end().line));
        } else {
            visit::visit_item(self, item);
        }
    }
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        self.imports.extend(paths.into_iter().map(|path| path.join("::")));
    }
}
