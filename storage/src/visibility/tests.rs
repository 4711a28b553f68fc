use super::snapshot::{Insertion, Visibility};
use super::xid_set::XidSet;
use crate::SyncLevel;
use std::sync::Arc;
use wal::{Lsn, Xid};

fn insertion(end: u64, xid: u64, level: SyncLevel) -> Insertion {
    Insertion { end: Lsn::new(end), xid: Xid::new(xid), level }
}

fn registry() -> Arc<Visibility> {
    Visibility::new(Lsn::new(100), Xid::new(10), XidSet::default())
}

#[test]
fn a_weak_commit_behind_a_stalled_strong_one_stays_unseen() {
    let seen = registry();
    let none = |level, _| level == SyncLevel::Off;
    seen.publish(&[insertion(110, 10, SyncLevel::Off)], none);
    seen.publish(&[insertion(120, 11, SyncLevel::On), insertion(130, 12, SyncLevel::Off)], none);
    assert_eq!(seen.visible(), Lsn::new(110));
    let snapshot = seen.take(Lsn::INVALID, none);
    assert!(snapshot.sees(Xid::new(10)) && !snapshot.sees(Xid::new(11)) && !snapshot.sees(Xid::new(12)));
    seen.settle(|_, _| true);
    assert_eq!(seen.visible(), Lsn::new(130));
    assert!(!snapshot.sees(Xid::new(12)), "a snapshot stays as it was");
    assert!(seen.take(Lsn::INVALID, none).sees(Xid::new(12)));
}

#[test]
fn a_session_sees_its_own_commit_and_what_is_before_it() {
    let seen = registry();
    let none = |_, _| false;
    seen.publish(&[insertion(120, 10, SyncLevel::On), insertion(130, 11, SyncLevel::On)], none);
    let own = seen.take(Lsn::new(120), none);
    assert_eq!((own.lsn, own.next_xid), (Lsn::new(120), Xid::new(11)));
    assert_eq!(seen.in_doubt(Xid::new(11)), Some(Lsn::new(130)));
    assert_eq!(seen.in_doubt(Xid::new(9)), None);
}

#[test]
fn what_the_state_page_tells_late_is_outside_of_the_prefixes_that_were_replayed_before() {
    let seen = registry();
    let open = |xids: &[u64]| xids.iter().map(|xid| Xid::new(*xid)).collect::<XidSet>();
    seen.set_early(open(&[10]), XidSet::default());
    // 11 is open as well; that shows with its first page, or when the state page is read.
    seen.redone_commit(Lsn::new(120), Xid::new(12), &[], open(&[10]).iter());
    seen.redone_commit(Lsn::new(130), Xid::new(14), &[], open(&[10, 11]).iter());
    seen.set_early(open(&[10, 11]), XidSet::default());
    for end in [120, 130] {
        seen.confirm(Lsn::new(end));
        let snapshot = seen.take_confirmed(Lsn::new(end)).unwrap();
        assert_eq!([10, 11, 12].map(|xid| snapshot.sees(Xid::new(xid))), [false, false, true], "up to {end}");
    }
}

#[test]
fn what_began_before_redo_did_is_outside_of_each_prefix_before_its_commit() {
    let seen = registry();
    seen.redone_commit(Lsn::new(120), Xid::new(12), &[], std::iter::empty());
    seen.confirm(Lsn::new(120));
    seen.redone_commit(Lsn::new(130), Xid::new(14), &[Xid::new(10)], std::iter::empty());
    let before = seen.take_confirmed(Lsn::INVALID).unwrap();
    assert!(before.sees(Xid::new(12)) && !before.sees(Xid::new(10)));
    seen.confirm(Lsn::new(130));
    assert!(seen.take_confirmed(Lsn::INVALID).unwrap().sees(Xid::new(10)));
}

#[test]
fn aborted_xids_that_are_forgotten_keep_nobody_from_what_was_confirmed_before() {
    let xid = |xid: u64| [Xid::new(xid)].into_iter().collect::<XidSet>();
    let aborted_in_the_log = |seen: &Visibility| {
        seen.abort(&[Xid::new(10)]);
        seen.forget(&[Xid::new(10)]);
    };
    let swept = |seen: &Visibility| {
        seen.set_early(XidSet::default(), xid(10));
        seen.set_early(XidSet::default(), XidSet::default());
    };
    let ways: [&dyn Fn(&Visibility); 2] = [&aborted_in_the_log, &swept];
    for forget in ways {
        let seen = registry();
        seen.set_early(xid(10), XidSet::default());
        seen.redone_commit(Lsn::new(120), Xid::new(11), &[], xid(10).iter());
        seen.confirm(Lsn::new(120));
        assert!(!seen.take_confirmed(Lsn::INVALID).unwrap().sees(Xid::new(10)));
        forget(&seen);
        // The primary prunes what only snapshots beside that xid would need.
        seen.prunes_below(Xid::new(12));
        assert!(seen.take_confirmed(Lsn::INVALID).is_some(), "no other commit may come for long");
    }
}

#[test]
fn the_oldest_snapshot_and_feedback_hold_the_horizon() {
    let seen = registry();
    let all = |_, _| true;
    let old = seen.take(Lsn::INVALID, all);
    seen.publish(&[insertion(110, 10, SyncLevel::Off)], all);
    let newer = seen.take(Lsn::INVALID, all);
    assert_eq!(seen.horizon(), Xid::new(10));
    drop(old);
    assert_eq!(seen.horizon(), Xid::new(11));
    seen.publish(&[insertion(120, 11, SyncLevel::Off)], all);
    drop(newer);
    assert_eq!(seen.horizon(), Xid::new(12));
    seen.set_feedback(Some(Xid::new(4)));
    assert_eq!(seen.horizon(), Xid::new(4));
}

#[test]
fn replay_gives_up_only_snapshots_that_pruning_would_hurt() {
    let seen = registry();
    let old = seen.take(Lsn::INVALID, |_, _| true);
    seen.cancel_below(Xid::new(10));
    assert!(!seen.is_cancelled(&old));
    seen.cancel_below(Xid::new(11));
    assert!(seen.is_cancelled(&old));
    seen.end_replay(Lsn::new(200), Xid::new(11), &[]);
    assert!(!seen.is_cancelled(&seen.take(Lsn::INVALID, |_, _| true)));
}

#[test]
fn snapshots_from_before_a_drop_may_lack_its_files_and_none_of_what_an_older_transaction_keeps_open() {
    let seen = registry();
    let open = XidSet::from_iter([Xid::new(10)]);
    seen.redone_commit(Lsn::new(120), Xid::new(11), &[], open.iter());
    seen.confirm(Lsn::new(120));
    let old = seen.take(Lsn::INVALID, |_, _| true);
    seen.drops_before(Lsn::new(130));
    assert!(seen.take_confirmed(Lsn::INVALID).is_none(), "it would be from before the drop");
    assert!(seen.may_lack_files(&old) && !seen.is_cancelled(&old));
    seen.redone_commit(Lsn::new(130), Xid::new(12), &[], open.iter());
    seen.confirm(Lsn::new(130));
    let confirmed = seen.take_confirmed(Lsn::INVALID).unwrap();
    let newer = seen.take(Lsn::INVALID, |_, _| true);
    assert!(!seen.may_lack_files(&newer) && !seen.may_lack_files(&confirmed));
    assert_eq!(seen.oldest_snapshot(), Some(Xid::new(10)));
}

#[test]
fn aborted_xids_are_not_seen() {
    let seen = registry();
    seen.abort(&[Xid::new(7)]);
    let snapshot = seen.take(Lsn::INVALID, |_, _| true);
    assert!(snapshot.sees(Xid::new(6)) && !snapshot.sees(Xid::new(7)));
}

#[test]
fn an_early_xid_is_seen_with_the_commit_that_it_is_a_part_of_and_not_before() {
    let seen = registry();
    let none = |_, _| false;
    let all = |_, _| true;
    let early = Xid::new(10);
    let before = seen.take(Lsn::INVALID, all);
    seen.open_early(early);
    seen.publish(&[insertion(110, 11, SyncLevel::Off)], all);
    let during = seen.take(Lsn::INVALID, all);
    assert!(during.sees(Xid::new(11)) && !during.sees(early) && !before.sees(early));
    seen.end_early(Xid::new(12), &[early]);
    seen.publish(&[insertion(120, 12, SyncLevel::On)], none);
    assert_eq!(seen.in_doubt(early), Some(Lsn::new(120)));
    assert!(!seen.take(Lsn::INVALID, none).sees(early), "in doubt");
    assert!(seen.take(Lsn::new(120), none).sees(early), "its own session sees it");
    seen.settle(all);
    assert!(seen.take(Lsn::INVALID, all).sees(early) && seen.in_doubt(early).is_none());
    assert!(!during.sees(early) && !before.sees(early), "snapshots stay as they were");
    assert!(seen.excluded().is_empty());
}

#[test]
fn the_prefix_that_goes_on_record_leaves_out_the_parts_of_what_is_not_inside() {
    let seen = registry();
    let early = Xid::new(10);
    seen.open_early(early);
    seen.publish(&[insertion(110, 11, SyncLevel::On)], |_, _| true);
    seen.end_early(Xid::new(12), &[early]);
    seen.publish(&[insertion(120, 12, SyncLevel::On)], |_, _| false);
    assert_eq!(seen.prefix_up_to(Lsn::new(109)), None, "more is visible");
    let before = seen.prefix_up_to(Lsn::new(119)).unwrap();
    assert_eq!((before.last.prefix.end, before.last.prefix.next_xid), (Lsn::new(110), Xid::new(12)));
    assert!(before.last.prefix.excluded.contains(early) && before.oldest == early);
    let with = seen.prefix_up_to(Lsn::new(120)).unwrap();
    assert_eq!((with.last.prefix.end, with.last.prefix.next_xid), (Lsn::new(120), Xid::new(13)));
    assert!(with.last.prefix.excluded.is_empty());
    // As redo finds it: its redo point is behind both commits.
    let restarted = Visibility::new(Lsn::new(130), Xid::new(13), XidSet::default());
    restarted.recall_confirmed(Lsn::new(119), Some(before.last));
    let snapshot = restarted.take_decided(Lsn::new(119)).unwrap();
    assert_eq!([11, 12, 10].map(|xid| snapshot.sees(Xid::new(xid))), [true, false, false]);
    for token in [Lsn::INVALID, Lsn::new(119), Lsn::new(120)] {
        assert!(restarted.take_confirmed(token).is_none(), "a standby may have shown more");
    }
    restarted.prunes_below(Xid::new(12));
    assert!(restarted.take_decided(Lsn::new(119)).is_none(), "what it sees may be gone");
}

#[test]
fn a_snapshot_beside_an_open_early_xid_holds_the_horizon_at_that_xid_for_good() {
    let seen = registry();
    let all = |_, _| true;
    seen.open_early(Xid::new(10));
    seen.publish(&[insertion(110, 11, SyncLevel::Off)], all);
    let during = seen.take(Lsn::INVALID, all);
    assert_eq!(seen.horizon(), Xid::new(10));
    seen.end_early(Xid::new(12), &[Xid::new(10)]);
    seen.publish(&[insertion(120, 12, SyncLevel::Off)], all);
    assert_eq!(seen.horizon(), Xid::new(10), "that snapshot still reads what the early one replaced");
    assert_eq!(seen.oldest_snapshot(), Some(Xid::new(10)));
    drop(during);
    assert_eq!(seen.horizon(), Xid::new(13));
}

#[test]
fn whoever_does_not_read_needs_what_the_next_snapshot_beside_an_open_early_xid_does_not_see() {
    let seen = registry();
    let all = |_, _| true;
    seen.open_early(Xid::new(10));
    seen.publish(&[insertion(110, 11, SyncLevel::Off)], all);
    assert_eq!(seen.oldest_needed(false), Xid::new(10), "a reader of the next moment reads what it replaces");
    let during = seen.take(Lsn::INVALID, all);
    seen.end_early(Xid::new(12), &[Xid::new(10)]);
    seen.publish(&[insertion(120, 12, SyncLevel::Off)], all);
    assert_eq!(seen.oldest_needed(false), Xid::new(10));
    drop(during);
    assert_eq!(seen.oldest_needed(false), Xid::new(13));
}
