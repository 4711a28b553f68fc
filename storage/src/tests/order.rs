//! Assertions of order. Each is broken once, in a process of its own, which its panic ends.

use crate::SyncLevel;
use crate::visibility::snapshot::{Insertion, Visibility};
use crate::visibility::xid_set::XidSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use wal::{Lsn, Xid};

const CASE: &str = "PLIMSOLL_TEST_BREAKS_ORDER";
const SIGABRT: i32 = 6;

/// What is broken, how, and what the assertion says.
type Case = (&'static str, fn(), &'static str);

const CASES: [Case; 2] = [
    ("a commit ends before the last one", || publish(&[(120, 10), (110, 11)]), "came before"),
    ("a commit has an xid of before", || publish(&[(110, 10), (120, 9)]), "goes back"),
];

/// Publishes commits that end there, with these xids.
fn publish(commits: &[(u64, u64)]) {
    let seen = Visibility::new(Lsn::new(100), Xid::new(10), XidSet::default());
    let insertion = |(end, xid): &(u64, u64)| Insertion {
        end: Lsn::new(*end),
        xid: Xid::new(*xid),
        level: SyncLevel::Off,
    };
    let commits: Vec<Insertion> = commits.iter().map(insertion).collect();
    seen.publish(&commits, |_, _| true);
}

#[test]
fn a_broken_order_of_commits_ends_the_process() {
    if let Ok(number) = std::env::var(CASE) {
        let (_, breaks, _) = CASES[number.parse::<usize>().unwrap()];
        return breaks();
    }
    for (number, (what, _, words)) in CASES.iter().enumerate() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["tests::order::a_broken_order_of_commits_ends_the_process", "--exact", "--nocapture"]);
        let ended = again.env(CASE, number.to_string()).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.signal(), Some(SIGABRT), "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
    }
}
