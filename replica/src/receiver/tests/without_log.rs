//! Copies that come without their log.

use super::{SEGMENT, Talk, at, fork, one, tl};
use wal::history::TimelineHistory;

/// The copy's log begins with the segment in which its timeline does.
#[test]
fn a_copy_without_log_and_history_follows_the_timeline_of_its_files() {
    let two = fork(&one(), 2, SEGMENT + 30_000);
    for (needed, follows) in [(SEGMENT + 30_000, true), (SEGMENT + 29_999, false)] {
        let mut talk = Talk::connect(TimelineHistory::root(tl(2)), SEGMENT);
        talk.0.set_needed(at(needed));
        assert_eq!(talk.identified(2), ["fetch 2"]);
        let said = talk.history(&two);
        assert_eq!(said == [format!("follow 2 from {SEGMENT}"), "fetch 2".to_owned()], follows, "{said:?}");
        if follows {
            let said = talk.history(&two);
            assert!(said.contains(&format!("start {SEGMENT} on 1")), "{said:?}");
        }
    }
}
