//! Nodes that are no more: who has their directory speaks for them.

use super::*;

#[test]
fn a_node_and_what_its_directory_was_are_one_standby_under_the_names_of_both() {
    use Verdict::{NoneFromRemoteWrite, Possible};
    for (names, ends, expected, says) in [
        ("FIRST 1 (old, p)", [Some(20), None, None], NoneFromRemoteWrite, "1 of these 1"),
        ("ANY 1 (a, old)", [Some(20), None, None], NoneFromRemoteWrite, "2 of these 2"),
        ("ANY 1 (old, b)", [Some(10), Some(20), None], Possible, "up to 0/14"),
        ("ANY 1 (old, b)", [None, Some(20), None], Possible, "may have been \"old\""),
        ("ANY 2 (old, b, c)", [None, Some(20), Some(10)], NoneFromRemoteWrite, "2 of these 3"),
        ("ANY 2 (old, b, c)", [None, Some(10), Some(20)], Possible, "up to 0/14"),
    ] {
        let mut nodes = trio(names, ends);
        nodes[0].formerly = vec!["x".to_owned(), "old".to_owned()];
        let at = ends.iter().position(Option::is_some).unwrap();
        let (found, reason) = verdict(&nodes, at);
        assert_eq!(found, expected, "{names} {ends:?}: {reason}");
        assert!(reason.contains(says), "{names} {ends:?}: {reason}");
    }
}

#[test]
fn what_the_primary_was_before_is_no_standby_of_its_own() {
    let mut nodes = trio("ANY 1 (p, a)", [Some(20), None, None]);
    nodes[1] = node(99, "p", None);
    nodes[1].formerly = vec!["p".to_owned()];
    assert_eq!(verdict(&nodes, 0).0, Verdict::NoneFromRemoteWrite);
    // As a node of its own it may have what nobody else has.
    nodes[1].formerly.clear();
    nodes[2] = node(98, "p", None);
    assert_eq!(verdict(&nodes, 0).0, Verdict::Possible);
}
