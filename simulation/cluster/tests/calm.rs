//! The clients against one real server to which nothing happens: each kind of operation occurs, and the
//! checks find nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Node, Work};
use server::StopMode;
use simulator::branch::Branch;
use simulator::checks::{Promise, check, check_equal, count_rare};
use simulator::features::Features;
use simulator::guarantee::Guarantee;
use simulator::history::{Deed, History, Outcome, State};
use simulator::rare::{Counters, Rare};

const CLIENTS: u32 = 5;
const OPERATIONS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_calm_server_do_everything_and_break_nothing() {
    let mut node = Node::primary().await;
    // The second node is never there.
    let nodes = vec![node.conninfo(), Node::empty(1).conninfo()];
    let history = Work::start(nodes, 1, Features::all(), (CLIENTS, OPERATIONS)).end().await;
    let (state, again) = (node.state().await, node.state().await);
    node.stop(StopMode::Fast).await;

    let guarantee = Guarantee::calm(Branch::new("1"));
    eprintln!("{:?}\n{:?}", history.kinds(), history.rare);
    check(&history, &guarantee, &state).unwrap_or_else(|violation| panic!("{violation}"));
    check_equal(&[(0, state.clone()), (1, again)]).unwrap_or_else(|violation| panic!("{violation}"));
    each_kind_occurs(&history);
    nothing_else_went_wrong(&history);
    let mut counters = history.rare.clone();
    count_rare(&history, &guarantee, &state, &mut counters);
    controls(history, &guarantee, &state, &counters);
}

fn each_kind_occurs(history: &History) {
    let kinds = history.kinds();
    let done = |kind| kinds.get(kind).copied().unwrap_or_default();
    for kind in [
        "insert",
        "large",
        "copy",
        "savepoints",
        "reinsert",
        "cancelled wait",
        "timeout",
        "ddl",
        "read of a primary",
        "read of a primary after a token",
        "look at tables",
        "numbers",
    ] {
        assert!(done(kind).1 > 0, "{kind} was never done: {kinds:?}");
    }
    for kind in ["rolled back", "gone before commit", "gone in commit", "deadlock", "collision"] {
        assert!(done(kind).0 > 0 && done(kind).1 == 0, "{kind}: {kinds:?}");
    }
    let levels: std::collections::BTreeSet<_> =
        history.entries().iter().filter_map(|entry| entry.level_told()).collect();
    assert_eq!(levels.len(), 5);
    let names = |yes| {
        let fits = |change: &(String, bool)| change.1 == yes;
        let changes = history.entries().iter().filter_map(|entry| match &entry.deed {
            Deed::Ddl(ddl) => Some(&ddl.changes),
            _ => None,
        });
        changes.flatten().filter(|change| fits(change)).count()
    };
    assert!(names(true) > 5 && names(false) > 5);
}

/// What a client was refused is what it asked for: ends of its own making, and conflicts.
fn nothing_else_went_wrong(history: &History) {
    for entry in history.entries() {
        let expected = match &entry.outcome {
            Outcome::Acked { token, .. } => token.is_some(),
            // A table may be looked for before it is there, or when it is gone.
            Outcome::Failed(text) if text.starts_with("42P01") => matches!(entry.deed, Deed::List(_)),
            Outcome::Failed(text) => ["57014", "40001", "40P01", "23505", "rolled", "went"]
                .iter()
                .any(|word| text.starts_with(word)),
            Outcome::Unknown(text) => text == "went away",
        };
        assert!(expected, "{entry:?}");
    }
}

/// The checks look at this history: what is taken from the state is missed.
fn controls(history: History, guarantee: &Guarantee, state: &State, counters: &Counters) {
    assert!(counters.count(Rare::GoneInCommit) > 0 && counters.count(Rare::LostWeakCommit) == 0);
    let promise = |state: &State| check(&history, guarantee, state).err().map(|violation| violation.promise);
    let mut less = state.clone();
    less.objects.pop_first();
    assert_eq!(promise(&less), Some(Promise::Objects));
    let mut half = state.clone();
    half.parts.values_mut().find(|parts| parts.len() > 1).expect("some are large").pop_first();
    assert_eq!(promise(&half), Some(Promise::Whole));
    let mut lost = state.clone();
    lost.parts.pop_first();
    assert_eq!(promise(&lost), Some(Promise::Whole), "its registers count it");
}
