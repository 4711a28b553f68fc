use super::*;

fn token(text: &str) -> Token {
    text.parse().expect("a token")
}

/// All of these told that they have all log.
fn told_of_all(candidates: &[usize]) -> BTreeMap<usize, Lsn> {
    candidates.iter().map(|node| (*node, Lsn::new(0x300))).collect()
}

/// Node 0 was the primary of branch 1, waited for `count` of nodes 1, 2 and 3, and node 1 was promoted at
/// 1000 ms and position 100, after a comparison with `candidates`.
fn turned(count: usize, candidates: &[usize]) -> Guarantee {
    let branch = Branch::new("2-a");
    let mut guarantee = Guarantee::calm(branch.clone());
    guarantee.branches.add(branch.clone(), Branch::new("1"), Lsn::new(0x100));
    guarantee.quorums.push(Quorum {
        node: 0,
        from_ms: 0,
        to_ms: 2000,
        count,
        standbys: [1, 2, 3].into(),
        first: Vec::new(),
    });
    let candidates = told_of_all(candidates);
    guarantee.turns.push(Turn { branch, node: 1, decided_ms: 1000, candidates, sealed: false });
    guarantee
}

fn binds(guarantee: &Guarantee, level: Level, at: &str, told_ms: u64) -> bool {
    let token = token(at);
    guarantee.binds(&Commit { level, token: &token, node: Some(0), invoked_ms: told_ms - 10, told_ms })
}

#[test]
fn what_lies_on_the_surviving_branch_binds_at_every_level() {
    let guarantee = turned(1, &[1]);
    for level in Level::ALL {
        assert!(binds(&guarantee, level, "1:0/100", 500), "{level:?}");
    }
    for level in [Level::Off, Level::Local] {
        assert!(!binds(&guarantee, level, "1:0/101", 500));
    }
}

#[test]
fn a_synchronous_commit_binds_if_the_comparison_met_each_quorum() {
    for (count, candidates, expected) in [
        (1, &[1, 2, 3][..], true),
        (1, &[1, 2], false),
        (2, &[1, 2], true),
        (2, &[1], false),
        (3, &[1], true),
        (0, &[1, 2, 3], false),
    ] {
        let guarantee = turned(count, candidates);
        assert_eq!(binds(&guarantee, Level::On, "1:0/101", 500), expected, "{count} {candidates:?}");
    }
}

#[test]
fn what_was_told_after_the_comparison_binds_by_the_promoted_node_alone() {
    let mut guarantee = turned(1, &[1, 2, 3]);
    assert!(!binds(&guarantee, Level::On, "1:0/101", 1500));
    guarantee.turns[0].sealed = true;
    assert!(binds(&guarantee, Level::On, "1:0/101", 1500));
    assert!(binds(&turned(3, &[1]), Level::On, "1:0/101", 1500));
}

#[test]
fn what_was_only_written_at_the_comparison_binds_by_the_promoted_node_alone() {
    let told_of = |ends: [(usize, u64); 3]| {
        let mut guarantee = turned(1, &[]);
        guarantee.turns[0].candidates = ends.map(|(node, end)| (node, Lsn::new(end))).into();
        guarantee
    };
    let mut guarantee = told_of([(1, 0x200), (2, 0x140), (3, 0x200)]);
    for (level, at, expected) in [
        (Level::RemoteWrite, "1:0/140", true),
        (Level::RemoteWrite, "1:0/141", false),
        (Level::On, "1:0/141", true),
        (Level::RemoteApply, "1:0/141", true),
    ] {
        assert_eq!(binds(&guarantee, level, at, 500), expected, "{level:?} {at}");
    }
    guarantee.turns[0].sealed = true;
    assert!(!binds(&guarantee, Level::RemoteWrite, "1:0/141", 500), "nor while the old primary is down");
    let mut guarantee = told_of([(1, 0x140), (2, 0x200), (3, 0x200)]);
    assert!(binds(&guarantee, Level::RemoteWrite, "1:0/141", 500), "who is promoted has what it has written");
    // How far the log of a later branch goes tells nothing of the one before.
    let (parent, branch) = (guarantee.survivor.clone(), Branch::new("3-c"));
    guarantee.branches.add(branch.clone(), parent, Lsn::new(0x120));
    guarantee.survivor = branch.clone();
    let candidates = [1, 2, 3].map(|node| (node, Lsn::new(0x120))).into();
    guarantee.turns.push(Turn { branch, node: 2, decided_ms: 1500, candidates, sealed: false });
    assert!(binds(&guarantee, Level::RemoteWrite, "1:0/141", 500));
}

#[test]
fn who_cannot_read_on_where_its_disk_has_changed_the_log_holds_nothing_behind() {
    let told_of = |ends: [(usize, u64); 3]| {
        let mut guarantee = turned(1, &[]);
        guarantee.turns[0].candidates = ends.map(|(node, end)| (node, Lsn::new(end))).into();
        guarantee.spoiled.insert(Lsn::new(0x142));
        guarantee
    };
    for (end, at, expected) in [
        (0x140, "1:0/143", false),
        (0x140, "1:0/160", false),
        // Nothing keeps it from reading so far, or any more.
        (0x140, "1:0/142", true),
        (0x150, "1:0/160", true),
    ] {
        let guarantee = told_of([(1, 0x140), (2, end), (3, 0x200)]);
        assert_eq!(binds(&guarantee, Level::On, at, 500), expected, "{end:x} {at}");
    }
    // Who is promoted has to see that it lacks what it had.
    let mut guarantee = told_of([(1, 0x140), (2, 0x200), (3, 0x200)]);
    assert!(binds(&guarantee, Level::On, "1:0/160", 500));
    // Nobody had it on the branch that a later change ended, wherever that one's log was changed.
    let (parent, branch) = (guarantee.survivor.clone(), Branch::new("3-c"));
    guarantee.branches.add(branch.clone(), parent, Lsn::new(0x140));
    guarantee.survivor = branch.clone();
    let candidates = [1, 2, 3].map(|node| (node, Lsn::new(0x140))).into();
    guarantee.turns.push(Turn { branch, node: 2, decided_ms: 1500, candidates, sealed: false });
    assert!(binds(&guarantee, Level::On, "1:0/160", 500));
}

#[test]
fn losses_take_from_a_holder_what_its_level_left_there() {
    for (lost, level, expected) in [
        (Lost::Process, Level::RemoteWrite, true),
        (Lost::Machine, Level::RemoteWrite, false),
        (Lost::Machine, Level::On, true),
        (Lost::Directory, Level::RemoteApply, false),
    ] {
        let mut guarantee = turned(1, &[1, 2, 3]);
        guarantee.losses.push(Loss { node: 2, at_ms: 700, lost });
        assert_eq!(binds(&guarantee, level, "1:0/101", 500), expected, "{lost:?} {level:?}");
        assert!(binds(&guarantee, level, "1:0/101", 900), "a loss before it takes nothing");
    }
}

#[test]
fn released_commits_and_those_under_another_quorum_do_not_bind() {
    let mut guarantee = turned(1, &[1, 2, 3]);
    let (branch, after) = (Branch::new("1"), Lsn::new(0x150));
    guarantee.released.push(Released { branch, after, upto: Some(Lsn::new(0x160)), told_ms: None });
    for (at, expected) in [("1:0/150", true), ("1:0/151", false), ("1:0/160", false), ("1:0/161", true)] {
        assert_eq!(binds(&guarantee, Level::On, at, 500), expected, "{at}");
    }
    let none =
        Quorum { node: 0, from_ms: 400, to_ms: 600, count: 0, standbys: BTreeSet::new(), first: Vec::new() };
    guarantee.quorums.push(none);
    assert!(!binds(&guarantee, Level::On, "1:0/141", 500));
    assert!(binds(&guarantee, Level::On, "1:0/141", 700));
}

#[test]
fn a_commit_whose_end_is_not_known_may_lie_in_what_was_shown_before_it_was_seen() {
    let (mut undecided, mut released) = (turned(1, &[1, 2, 3]), turned(1, &[1, 2, 3]));
    let (after, upto) = (Lsn::new(0xE0), Lsn::new(0x120));
    undecided.shown_undecided.push(Shown { after, upto, begun_ms: 450, at_ms: 480 });
    let (upto, told_ms) = (Some(upto), Some((480, 450)));
    released.released.push(Released { branch: Branch::new("1"), after, upto, told_ms });
    for (at, invoked_ms, told_ms, expected) in [
        ("1:0/150", 440, 480, true),
        // It began after all that was shown.
        ("1:0/150", 450, 500, false),
        // It was seen before.
        ("1:0/150", 440, 479, false),
        // Who is left has it.
        ("1:0/100", 440, 500, false),
    ] {
        let commit = Commit { level: Level::On, token: &token(at), node: None, invoked_ms, told_ms };
        for guarantee in [&undecided, &released] {
            assert_eq!(guarantee.may_have_been_shown(&commit), expected, "{at} {invoked_ms} {told_ms}");
        }
    }
    (undecided.shown_undecided[0].after, released.released[0].after) = (Lsn::new(0x150), Lsn::new(0x150));
    let at = token("1:0/150");
    let commit = Commit { level: Level::On, token: &at, node: None, invoked_ms: 440, told_ms: 500 };
    assert!(![&undecided, &released].iter().any(|guarantee| guarantee.may_have_been_shown(&commit)));
}

#[test]
fn a_commit_of_a_branch_that_was_given_up_does_not_bind() {
    let mut guarantee = turned(1, &[1, 2, 3]);
    guarantee.branches.add(Branch::new("2-b"), Branch::new("1"), Lsn::new(0x80));
    assert!(!binds(&guarantee, Level::On, "2-b:0/90", 500));
    assert!(binds(&guarantee, Level::On, "2-b:0/80", 500), "before the fork it is the common log");
}

#[test]
fn a_commit_at_off_binds_once_the_log_writer_had_its_time() {
    let mut guarantee = turned(1, &[1]);
    guarantee.losses.push(Loss { node: 0, at_ms: 900, lost: Lost::Process });
    for (told_ms, expected) in [(200, true), (299, true), (300, false), (800, false), (1000, true)] {
        assert_eq!(binds(&guarantee, Level::Off, "1:0/90", told_ms), expected, "{told_ms}");
        assert!(binds(&guarantee, Level::Local, "1:0/90", told_ms));
    }
    // While the node stood still, its log writer did, too.
    guarantee.pauses.push(Pause { node: 0, from_ms: 400, to_ms: 500 });
    assert!(!binds(&guarantee, Level::Off, "1:0/90", 200));
    assert!(binds(&guarantee, Level::Off, "1:0/90", 199));
}

#[test]
fn a_commit_outlives_each_change_of_branch_after_it_and_no_other() {
    let mut guarantee = turned(1, &[1, 2, 3]);
    let (parent, branch) = (guarantee.survivor.clone(), Branch::new("3-c"));
    guarantee.branches.add(branch.clone(), parent, Lsn::new(0x200));
    guarantee.survivor = branch.clone();
    assert!(!binds(&guarantee, Level::On, "1:0/141", 500), "the second change was not stated");
    let turn = |candidates: &[usize]| {
        let candidates = told_of_all(candidates);
        Turn { branch: branch.clone(), node: 2, decided_ms: 1500, candidates, sealed: false }
    };
    guarantee.turns.push(turn(&[2]));
    assert!(!binds(&guarantee, Level::On, "1:0/141", 500));
    guarantee.turns[1] = turn(&[1, 2, 3]);
    assert!(binds(&guarantee, Level::On, "1:0/141", 500));
    // What began after the first change has nothing to do with how that one was decided.
    guarantee.turns[0].candidates = told_of_all(&[1]);
    guarantee.turns[0].decided_ms = 700;
    assert!(binds(&guarantee, Level::On, "2-a:0/241", 1000));
    assert!(!binds(&guarantee, Level::On, "1:0/141", 500));
}

#[test]
fn only_quorums_of_its_own_primary_and_time_count_for_a_commit() {
    let mut guarantee = turned(1, &[1, 2, 3]);
    guarantee.turns[0].decided_ms = 4000;
    assert!(binds(&guarantee, Level::On, "1:0/141", 2010));
    assert!(!binds(&guarantee, Level::On, "1:0/141", 2011), "nobody stated what it waited for");
    guarantee.quorums.push(Quorum {
        node: 2,
        from_ms: 0,
        to_ms: 9000,
        count: 0,
        standbys: BTreeSet::new(),
        first: Vec::new(),
    });
    assert!(binds(&guarantee, Level::On, "1:0/141", 2010));
}
