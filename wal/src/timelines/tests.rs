use super::*;
use crate::history::BranchId;
use host::RealDisk;

fn tl(number: u32) -> TimelineId {
    TimelineId::new(number)
}
fn at(lsn: u64) -> Lsn {
    Lsn::new(lsn)
}
/// 1 -100-> 2 -200-> 4, and 1 -90-> 3.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let one = TimelineHistory::root(tl(1));
    let two = one.fork(tl(2), at(100), "x", BranchId::new(2)).unwrap();
    let three = one.fork(tl(3), at(90), "x", BranchId::new(3)).unwrap();
    let four = two.fork(tl(4), at(200), "x", BranchId::new(4)).unwrap();
    for history in [&two, &three, &four] {
        history.store(&RealDisk, dir.path()).unwrap();
    }
    dir
}
/// A directory whose checkpoint is on `timeline` and whose pages may be as new as `minimum`.
fn start(checkpoint: u64, timeline: u32, minimum: (u64, u32)) -> RecoveryStart {
    let minimum = (at(minimum.0), tl(minimum.1));
    RecoveryStart {
        checkpoint: (at(checkpoint), tl(timeline)),
        minimum,
        timeline: tl(timeline).max(minimum.1),
        named: tl(timeline).max(minimum.1),
        is_standbys: false,
        own_log_first: false,
        record: None,
        segment_size: SegmentSize::new(1 << 20).unwrap(),
    }
}
fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}
fn chosen(start: RecoveryStart, target: TargetTimeline) -> Result<u32, String> {
    let chosen = start.choose(&disk(), tree().path(), target);
    chosen.map(|history| history.target().get()).map_err(|error| error.to_string())
}

#[test]
fn the_latest_is_the_highest_that_contains_what_is_here() {
    for (begun, latest) in [
        (start(50, 1, (0, 0)), 4),
        (start(95, 1, (0, 0)), 4),
        (start(85, 1, (90, 1)), 4),
        (start(150, 2, (0, 0)), 4),
        (start(250, 2, (0, 0)), 2),
        (start(50, 1, (120, 1)), 1),
        (start(95, 3, (0, 0)), 3),
        (start(250, 4, (0, 0)), 4),
    ] {
        assert_eq!(chosen(begun, TargetTimeline::Latest), Ok(latest), "{begun:?}");
    }
}

#[test]
fn who_was_not_stopped_looks_for_the_latest_once_its_own_log_is_redone() {
    let crashed = RecoveryStart { own_log_first: true, ..start(50, 1, (0, 0)) };
    assert!(crashed.redoes_own_log_first());
    assert!(!crashed.after_own_log(at(90)).redoes_own_log_first());
    assert_eq!(chosen(crashed, TargetTimeline::Latest), Ok(1));
    assert_eq!(chosen(crashed, TargetTimeline::Number(tl(3))), Ok(3), "it is asked for");
    assert_eq!(chosen(crashed.after_own_log(at(90)), TargetTimeline::Latest), Ok(4));
    assert_eq!(chosen(crashed.after_own_log(at(101)), TargetTimeline::Latest), Ok(1), "past both forks");
}

#[test]
fn a_child_of_another_branch_that_took_our_number_is_not_ours_to_follow() {
    let dir = tree();
    let ours = TimelineHistory::root(tl(1)).fork(tl(2), at(100), "x", BranchId::new(22)).unwrap();
    ours.store(&RealDisk, dir.path()).unwrap();
    let here = start(150, 2, (0, 0));
    let choose = |target| here.choose(&disk(), dir.path(), target).map(|history| history.target().get());
    assert_eq!(choose(TargetTimeline::Latest).unwrap(), 2);
    let twin = "requested timeline 4 continues another branch than this server's, which took timeline 2 too";
    assert_eq!(choose(TargetTimeline::Number(tl(4))).unwrap_err().to_string(), twin);
    assert_eq!(newer_in(&dir, 2, 150).unwrap_err().to_string(), twin);
    // Without a history of our own nobody knows.
    std::fs::remove_file(dir.path().join("00000002.history")).unwrap();
    assert_eq!(here.choose(&disk(), dir.path(), TargetTimeline::Latest).unwrap().target(), tl(4));
}

#[test]
fn current_is_the_timeline_that_the_pages_are_on() {
    assert_eq!(chosen(start(50, 1, (0, 0)), TargetTimeline::Current), Ok(1));
    assert_eq!(chosen(start(50, 1, (150, 2)), TargetTimeline::Current), Ok(2), "a later one than redo's");
}

#[test]
fn current_is_what_was_received_and_not_what_is_only_followed() {
    for (received, current) in [(0, 1), (1, 1), (2, 2)] {
        let record = BranchRecord {
            timeline: tl(2),
            branch: None,
            received: tl(received),
            witnessed: tl(1),
            promotion: None,
        };
        let begun =
            RecoveryStart { record: Some(record), timeline: tl(2), named: tl(1), ..start(50, 1, (0, 0)) };
        assert_eq!(chosen(begun, TargetTimeline::Current), Ok(current), "{received}");
        assert_eq!(chosen(begun, TargetTimeline::Latest), Ok(4));
    }
}

#[test]
fn a_number_must_be_there_and_contain_what_is_here() {
    let number = |number| TargetTimeline::Number(tl(number));
    assert_eq!(chosen(start(50, 1, (0, 0)), number(3)), Ok(3));
    assert_eq!(chosen(start(50, 1, (0, 0)), number(1)), Ok(1));
    let refused = chosen(start(50, 1, (0, 0)), number(5));
    assert_eq!(refused, Err("recovery target timeline 5 does not exist".to_owned()));
    for (begun, why) in [
        (start(95, 1, (0, 0)), "the server forked off from that timeline at 0/5A"),
        (start(150, 2, (0, 0)), "the server never was on that timeline"),
        (start(50, 1, (95, 1)), "does not contain minimum recovery point 0/5F on timeline 1"),
    ] {
        let refused = chosen(begun, number(3)).unwrap_err();
        assert!(refused.ends_with(why), "{begun:?}: {refused}");
    }
}

fn newer_in(
    dir: &tempfile::TempDir,
    current: u32,
    replayed: u64,
) -> Result<Option<TimelineHistory>, TimelineError> {
    let place = Place { disk: &disk(), pg_wal: dir.path(), segment_size: SegmentSize::DEFAULT };
    let (replayed, needed) = (at(replayed), Lsn::INVALID);
    newer(&place, Standing { current: tl(current), replayed, needed, received: TimelineId::INVALID })
}

#[test]
fn a_newer_timeline_continues_what_is_replayed_whatever_else_is_there() {
    let dir = tree();
    let newer = |current, replayed| {
        let found = newer_in(&dir, current, replayed);
        found.map(|history| history.map(|it| it.target().get())).map_err(|error| error.to_string())
    };
    assert_eq!(newer(1, 100), Ok(Some(4)));
    assert_eq!(newer(2, 150), Ok(Some(4)), "although 3 is there");
    assert_eq!(newer(4, 300), Ok(None));
    assert!(newer(1, 101).unwrap_err().contains("new timeline 4 forked off current"));
    for (needed, taken) in [(100, true), (101, false)] {
        let place = Place { disk: &disk(), pg_wal: dir.path(), segment_size: SegmentSize::DEFAULT };
        let received = TimelineId::INVALID;
        let standing = Standing { current: tl(1), replayed: at(50), needed: at(needed), received };
        match super::newer(&place, standing) {
            Ok(found) => assert!(taken && found.is_some_and(|history| history.target() == tl(4))),
            Err(TimelineError::WithoutMinimum { point, .. }) => assert!(!taken && point == at(needed)),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(newer(3, 95).unwrap_err().contains("new timeline 4 is not a child of"));
}

#[test]
fn a_number_is_seen_in_histories_and_in_segments() {
    let dir = tree();
    let seen = || newest_file(&RealDisk, dir.path(), SegmentSize::new(1 << 20).unwrap()).unwrap().get();
    assert_eq!(seen(), 4);
    for (name, highest) in [
        ("000000070000000000000003.partial", 4),
        ("000000060000000000000003", 6),
        ("00000005.history", 6),
        ("0000000A.history", 10),
    ] {
        std::fs::write(dir.path().join(name), b"").unwrap();
        assert_eq!(seen(), highest, "{name}");
    }
}

#[test]
fn later_histories_are_fetched_up_to_the_first_that_is_missing() {
    let mut asked = Vec::new();
    let found = fetch_later::<()>(tl(2), |timeline| {
        asked.push(timeline.get());
        Ok(timeline != tl(5))
    });
    assert_eq!((found, asked), (Ok(tl(4)), vec![3, 4, 5]));
    let mut asked = Vec::new();
    fetch_for::<()>(&start(50, 1, (150, 2)), TargetTimeline::Number(tl(4)), |timeline| {
        asked.push(timeline.get());
        Ok(true)
    })
    .unwrap();
    assert_eq!(asked, [2, 4]);
}
