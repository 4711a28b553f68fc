use super::*;
use wal::history::BranchId;

mod beyond;
mod retrying;
mod upstream;
mod without_log;

const SEGMENT: u64 = 1 << 20;

fn at(lsn: u64) -> Lsn {
    Lsn::new(lsn)
}
fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
fn tl(number: u32) -> TimelineId {
    TimelineId::new(number)
}
fn wall() -> Timestamp {
    Timestamp::from_micros(1)
}
fn options() -> ReceiverOptions {
    ReceiverOptions {
        system: SystemId::new(77),
        segment_size: SegmentSize::new(SEGMENT).unwrap(),
        slot: Some("slot".to_owned()),
        follow_latest: true,
        status_interval: Some(s(10)),
        timeout: Some(s(60)),
        retry_interval: s(5),
        feedback: false,
    }
}
fn one() -> TimelineHistory {
    TimelineHistory::root(tl(1))
}
fn fork(of: &TimelineHistory, number: u32, lsn: u64) -> TimelineHistory {
    of.fork(tl(number), at(lsn), "test", BranchId::new(number.into())).unwrap()
}
fn receiver(history: TimelineHistory, end: u64) -> Receiver {
    let timeline = history.timeline_at(at(end));
    Receiver::new(options(), history, timeline, at(end), at(end))
}
/// Commands as short words, so that tests read as a conversation.
fn words(commands: &[ReceiverAction]) -> Vec<String> {
    commands
        .iter()
        .map(|command| match command {
            ReceiverAction::FetchHistory(timeline) => format!("fetch {timeline}"),
            ReceiverAction::StoreHistory(history) => format!("store {}", history.target()),
            ReceiverAction::TellDescendant => "tell".to_owned(),
            ReceiverAction::AskWitnessed => "ask".to_owned(),
            ReceiverAction::Follow { history, kept } => {
                format!("follow {} from {}", history.target(), kept.get())
            }
            ReceiverAction::SwitchTimeline(timeline) => format!("switch {timeline}"),
            ReceiverAction::Start { at, overlap: Some(overlap), timeline, .. } => {
                format!("start {} or {} on {timeline}", at.get(), overlap.get())
            }
            ReceiverAction::Start { at, timeline, .. } => format!("start {} on {timeline}", at.get()),
            ReceiverAction::Compare { at, wal } => format!("compare {}+{}", at.get(), wal.len()),
            ReceiverAction::Write { at, wal } => format!("write {}+{}", at.get(), wal.len()),
            ReceiverAction::Reply { progress: p, reply_requested } => format!(
                "reply {} {} {}{}",
                p.written.get(),
                p.flushed.get(),
                p.replayed.get(),
                if *reply_requested { "?" } else { "" }
            ),
            ReceiverAction::Report(error) => format!("report {error}"),
            ReceiverAction::ReportEnd(error) => format!("end {error}"),
            ReceiverAction::ReportStart { .. } => "log".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        })
        .collect()
}
struct Talk(Receiver, u64);
impl Talk {
    fn say(&mut self, event: Event) -> Vec<String> {
        words(&self.0.handle(event, s(self.1), wall()))
    }
    /// Data that are still to be compared and written.
    fn data_came(&mut self, start: u64, len: usize) -> Vec<String> {
        let wal = Bytes::from(vec![7; len]);
        self.say(Event::Data { start: at(start), primary_end: at(start + len as u64), clock: wall(), wal })
    }
    /// Data that the driver compares and writes at once.
    fn data(&mut self, start: u64, len: usize) -> Vec<String> {
        let commands = self.data_came(start, len);
        if commands.iter().any(|command| command.starts_with("write")) {
            assert_eq!(self.say(Event::Written(at(start + len as u64))), [""; 0]);
        }
        commands
    }
    fn identified(&mut self, timeline: u32) -> Vec<String> {
        self.say(Event::Identified { system: SystemId::new(77), timeline: tl(timeline), end: Lsn::MAX })
    }
    fn history(&mut self, history: &TimelineHistory) -> Vec<String> {
        self.say(Event::History { timeline: history.target(), text: history.text().to_owned() })
    }
    /// Up to the answer of IDENTIFY_SYSTEM.
    fn connect(history: TimelineHistory, end: u64) -> Self {
        let mut talk = Self(receiver(history, end), 0);
        assert_eq!(talk.say(Event::Tick), ["connect"]);
        assert_eq!(talk.say(Event::Connected { plimsoll: true }), ["identify"]);
        talk
    }
    fn streaming(end: u64) -> Self {
        let mut talk = Self::connect(one(), end);
        talk.identified(1);
        talk.say(Event::Started);
        talk
    }
}

#[test]
fn a_standby_connects_asks_who_it_is_and_streams_from_a_page_before_its_end() {
    let mut talk = Talk::connect(one(), 20_000);
    assert_eq!(talk.identified(1), ["start 16384 on 1", "log"]);
    assert_eq!(
        talk.say(Event::Started),
        ["reply 16384 16384 16384", "feedback(none)"],
        "nothing is confirmed unseen"
    );
    assert_eq!(talk.data(16384, 8192), ["compare 16384+3616", "write 20000+4576"]);
    assert_eq!(talk.say(Event::Drained), ["reply 24576 20000 20000", "flush"]);
    assert_eq!(talk.say(Event::Flushed(at(24576))), ["reply 24576 24576 20000"]);
    assert_eq!(talk.say(Event::Replayed(at(24000))), ["reply 24576 24576 24000"]);
    assert_eq!(talk.say(Event::Drained), [""; 0]);
}

#[test]
fn what_redo_has_made_durable_is_reported_and_shown_as_flushed() {
    let mut talk = Talk::connect(one(), 20_000);
    talk.identified(1);
    talk.say(Event::Started);
    talk.data(16384, 8192);
    assert_eq!(talk.say(Event::Drained), ["reply 24576 20000 20000", "flush"]);
    assert_eq!(talk.say(Event::Replayed(at(24000))), ["reply 24576 24000 24000"]);
    assert_eq!(talk.0.view().flushed, at(24000), "nobody is told more than is shown");
}

#[test]
fn at_a_segment_s_start_nothing_is_sent_again() {
    let mut talk = Talk::connect(one(), SEGMENT);
    assert_eq!(talk.identified(1), [format!("start {SEGMENT} on 1"), "log".into()]);
    let mut talk = Talk::connect(one(), SEGMENT + 8192);
    assert_eq!(talk.identified(1)[0], format!("start {SEGMENT} on 1"));
}

#[test]
fn a_primary_of_another_cluster_is_refused() {
    let mut talk = Talk::connect(one(), 100);
    assert_eq!(
        talk.say(Event::Identified { system: SystemId::new(5), timeline: tl(1), end: Lsn::MAX }),
        ["report database system identifier differs between the primary and standby", "disconnect"]
    );
    assert_eq!(talk.0.wake_at(), Some(s(5)));
    talk.1 = 4;
    assert_eq!(talk.say(Event::Tick), [""; 0]);
    talk.1 = 5;
    assert_eq!(talk.say(Event::Tick), ["connect"]);
}

#[test]
fn a_primary_that_was_replaced_is_told_so_and_refused() {
    let mut talk = Talk::connect(fork(&one(), 2, 50), 100);
    assert_eq!(
        talk.identified(1),
        ["tell", "report highest timeline 1 of the primary is behind recovery timeline 2", "disconnect"]
    );
}

#[test]
fn a_new_timeline_is_followed_over_the_rest_of_the_old_one() {
    let mut talk = Talk::connect(one(), 10_000);
    assert_eq!(talk.identified(3), ["fetch 3"]);
    let two = fork(&one(), 2, 12_000);
    let three = fork(&two, 3, 13_000);
    assert_eq!(talk.history(&three), ["store 2", "follow 3 from 10000", "start 8192 on 1", "log"]);
    talk.say(Event::Started);
    assert_eq!(talk.data(8192, 12_000 - 8192), ["compare 8192+1808", "write 10000+2000"]);
    assert_eq!(talk.say(Event::StreamEnded { next: None }), ["flush", "finishstream"]);
    talk.say(Event::Flushed(at(12_000)));
    assert_eq!(talk.say(Event::StreamEnded { next: Some((tl(2), at(12_000))) }), ["identify"]);
    assert_eq!(talk.identified(3), ["fetch 3"]);
    assert_eq!(talk.history(&three), ["switch 2", "start 8192 on 2", "log"]);
}

#[test]
fn a_standby_without_the_history_of_its_own_timeline_has_it_before_it_judges_the_primary() {
    let two = fork(&one(), 2, 9_000);
    let three = fork(&two, 3, 12_000);
    let lost = TimelineHistory::root(tl(2));
    let mut talk = Talk::connect(lost.clone(), 10_000);
    assert_eq!(talk.identified(3), ["fetch 2"]);
    assert_eq!(talk.history(&two), ["follow 2 from 10000", "fetch 3"]);
    assert_eq!(talk.history(&three), ["follow 3 from 10000", "start 8192 on 2", "log"]);
    let mut same = Talk::connect(lost.clone(), 10_000);
    assert_eq!(same.identified(2), ["fetch 2"]);
    assert_eq!(same.history(&two), ["follow 2 from 10000", "fetch 2"]);
    assert_eq!(same.history(&two), ["start 8192 on 2", "log"]);
    let mut past = Talk::connect(lost, 8_500);
    past.identified(2);
    let refused = "report timeline 2 of the primary is another branch than timeline 2 here";
    assert_eq!(past.history(&two), [refused, "disconnect"], "that begins behind our log");
}

#[test]
fn a_primary_promoted_under_the_stream_is_followed_on_the_same_connection() {
    let mut talk = Talk::streaming(10_000);
    talk.data(8192, 3000);
    talk.say(Event::Flushed(at(11_192)));
    assert_eq!(talk.say(Event::StreamEnded { next: None }), ["finishstream"]);
    assert_eq!(talk.say(Event::StreamEnded { next: Some((tl(2), at(11_192))) }), ["identify"]);
    assert_eq!(talk.identified(2), ["fetch 2"]);
    assert_eq!(
        talk.history(&fork(&one(), 2, 11_192)),
        ["follow 2 from 11192", "switch 2", "start 8192 on 2", "log"]
    );
}

#[test]
fn a_primary_that_names_a_next_timeline_and_is_not_on_it_yet_is_asked_again_after_a_pause() {
    let mut talk = Talk::streaming(10_000);
    talk.data(8192, 3000);
    talk.say(Event::Flushed(at(11_192)));
    talk.say(Event::StreamEnded { next: None });
    assert_eq!(talk.say(Event::StreamEnded { next: Some((tl(2), at(11_192))) }), ["identify"]);
    assert_eq!(talk.identified(1), [""; 0], "the same stream would end at once");
    assert_eq!(talk.say(Event::Tick), [""; 0]);
    let wake = talk.0.wake_at().unwrap();
    assert!(wake > s(0) && wake <= s(1), "{wake:?}");
    talk.1 = 1;
    assert_eq!(talk.say(Event::Tick), ["identify"]);
    assert_eq!(talk.identified(1), [""; 0]);
    talk.1 = 2;
    assert_eq!(talk.say(Event::Tick), ["identify"]);
    assert_eq!(talk.identified(2), ["fetch 2"]);
    assert_eq!(
        talk.history(&fork(&one(), 2, 11_192)),
        ["follow 2 from 11192", "switch 2", "start 8192 on 2", "log"]
    );
}

#[test]
fn a_branch_that_does_not_continue_ours_is_refused() {
    let two = fork(&one(), 2, 9_000);
    let twin = one().fork(tl(2), at(9_000), "test", BranchId::new(99)).unwrap();
    let sibling = fork(&one(), 3, 9_500);
    let refusal = |ours: &TimelineHistory, theirs: &TimelineHistory| {
        let mut talk = Talk::connect(ours.clone(), 10_000);
        talk.identified(theirs.target().get());
        talk.history(theirs)
    };
    assert_eq!(
        refusal(&two, &sibling)[0],
        "report new timeline 3 is not a child of database system timeline 2"
    );
    assert_eq!(
        refusal(&two, &twin)[0],
        "report timeline 2 of the primary is another branch than timeline 2 here"
    );
}

#[test]
fn a_log_past_the_fork_is_cut_only_if_what_is_past_it_is_no_whole_record() {
    let two = fork(&one(), 2, 9_000);
    let past = || {
        let mut talk = Talk(Receiver::new(options(), one(), tl(1), at(10_000), at(8_500)), 0);
        talk.say(Event::Tick);
        talk.say(Event::Connected { plimsoll: true });
        talk.identified(2);
        assert_eq!(talk.history(&two), ["findwholeend"]);
        talk
    };
    assert_eq!(
        past().say(Event::WholeEnd(at(9_000))),
        ["follow 2 from 9000", "switch 2", "start 8192 on 2", "log"]
    );
    let mut cut = past();
    cut.say(Event::WholeEnd(at(8_600)));
    assert_eq!(
        cut.say(Event::Started),
        ["reply 8192 8192 8192", "feedback(none)"],
        "nothing of what was cut is reported"
    );
    assert_eq!(cut.data(8192, 500), ["compare 8192+408", "write 8600+92"]);
    assert_eq!(cut.0.view().flushed, at(8_600));
    assert_eq!(
        past().say(Event::WholeEnd(at(9_008)))[..2],
        [
            "ask",
            "report new timeline 2 forked off current database system timeline 1 before current recovery point 0/2330"
        ]
    );
}

#[test]
fn one_that_shall_stay_on_its_timeline_stays_there() {
    let mut stay = Talk(receiver(one(), 10_000), 0);
    stay.0.set_options(ReceiverOptions { follow_latest: false, ..options() });
    stay.say(Event::Tick);
    stay.say(Event::Connected { plimsoll: false });
    stay.identified(2);
    assert_eq!(stay.history(&fork(&one(), 2, 12_000)), ["start 8192 on 1", "log"]);
    // Nor does it take for its timeline's end what the others do not have.
    let mut past = Talk(receiver(one(), 10_000), 0);
    past.0.set_options(ReceiverOptions { follow_latest: false, ..options() });
    past.say(Event::Tick);
    past.say(Event::Connected { plimsoll: false });
    past.identified(2);
    assert_eq!(past.history(&fork(&one(), 2, 9_000)), ["findwholeend"]);
    assert_eq!(past.say(Event::WholeEnd(at(9_000)))[..1], ["start 8192 on 1"]);
}

#[test]
fn different_bytes_where_both_have_some_end_the_stream_before_anything_is_confirmed() {
    let mut talk = Talk::streaming(10_000);
    assert_eq!(talk.data(8192, 100), ["compare 8192+100"]);
    let given_up = talk.say(Event::Differs(at(8192)));
    assert_eq!(
        given_up,
        ["report WAL of the primary differs from WAL here at 0/2000 on timeline 1", "disconnect"]
    );
}

#[test]
fn what_could_not_be_written_is_neither_reported_nor_passed_over() {
    let full =
        wal::WalError::DiskFull { path: "segment".into(), cause: std::io::Error::other("full").into() };
    for failure in [Event::Differs(at(8192)), Event::Lost(full.into())] {
        let mut talk = Talk::streaming(10_000);
        assert_eq!(talk.data_came(8192, 20_000), ["compare 8192+1808", "write 10000+18192"]);
        assert_eq!(talk.say(failure)[1..], ["disconnect"], "nothing is to be flushed");
        assert_eq!(talk.0.end(), (at(10_000), tl(1)));
        talk.1 = 5;
        talk.say(Event::Tick);
        talk.say(Event::Connected { plimsoll: true });
        assert_eq!(talk.identified(1)[0], "start 8192 on 1");
        assert_eq!(talk.say(Event::Started), ["reply 8192 8192 8192", "feedback(none)"]);
    }
}

#[test]
fn a_primary_that_went_back_is_never_told_of_what_it_lost() {
    let mut talk = Talk::streaming(10_000);
    talk.data(8192, 1000);
    let asked = Event::Keepalive { primary_end: at(9_192), clock: wall(), reply_requested: true };
    assert_eq!(talk.say(asked), ["reply 9192 9192 9192"]);
}

#[test]
fn wal_that_is_not_the_next_is_a_protocol_error() {
    let mut talk = Talk::streaming(10_000);
    assert_eq!(talk.data(8193, 100)[0], "report WAL for 0/2001 came where 0/2000 was expected");
}

#[test]
fn a_log_that_ends_with_its_segment_is_compared_where_it_last_says_something() {
    let start = |talk: &mut Talk, page| {
        talk.0.set_last_page(at(SEGMENT), Some(at(page)));
        assert_eq!(talk.identified(1), [format!("start {SEGMENT} or {page} on 1"), "log".to_owned()]);
        // Nothing counts before it is known to be the primary's.
        assert_eq!(talk.say(Event::Started), ["reply 0 0 0", "feedback(none)"]);
    };
    let mut talk = Talk::connect(one(), SEGMENT);
    start(&mut talk, 16_384);
    assert_eq!(talk.say(Event::Begins(at(16_384))), ["reply 0 0 0"]);
    let len = usize::try_from(SEGMENT).unwrap() - 16_384;
    assert_eq!(talk.data_came(16_384, len), [format!("compare 16384+{len}")]);
    assert_eq!(talk.say(Event::Drained), [format!("reply {SEGMENT} {SEGMENT} {SEGMENT}")]);
    // The primary has removed it.
    let mut talk = Talk::connect(one(), SEGMENT);
    start(&mut talk, 16_384);
    assert_eq!(talk.say(Event::Begins(at(SEGMENT))), [format!("reply {SEGMENT} {SEGMENT} {SEGMENT}")]);
    // It removes it in the middle of that.
    let mut talk = Talk::connect(one(), SEGMENT);
    start(&mut talk, 16_384);
    assert_eq!(talk.say(Event::Begins(at(16_384))), ["reply 0 0 0"]);
    assert_eq!(talk.data_came(16_384, 8192), ["compare 16384+8192"]);
    assert_eq!(talk.say(Event::Begins(at(SEGMENT))), [format!("reply {SEGMENT} {SEGMENT} {SEGMENT}")]);
    assert_eq!(talk.data_came(SEGMENT, 100), [format!("write {SEGMENT}+100")]);
    let again = talk.say(Event::Begins(at(SEGMENT)));
    assert_eq!(again[0], format!("report the stream begins at {}", at(SEGMENT)));
}

#[test]
fn a_branch_that_leaves_out_what_was_received_and_cannot_be_read_is_not_followed() {
    let two = fork(&one(), 2, 30_000);
    for (lost, follows) in [(30_000, true), (30_001, false)] {
        let mut talk = Talk::connect(one(), 20_000);
        talk.0.set_lost(at(lost));
        talk.identified(2);
        let said = talk.history(&two);
        assert_eq!(said.iter().any(|word| word.starts_with("follow 2")), follows, "{said:?}");
        // Nor one that leaves before what pages may hold.
        let mut talk = Talk::connect(one(), 20_000);
        talk.0.set_needed(at(lost));
        talk.identified(2);
        let said = talk.history(&two);
        assert_eq!(said.iter().any(|word| word.starts_with("follow 2")), follows, "{said:?}");
    }
}

#[test]
fn a_primary_whose_log_ends_before_what_was_received_here_is_not_followed() {
    for (lost, is_left) in [(30_000, false), (30_001, true)] {
        let mut talk = Talk::connect(one(), 20_000);
        talk.0.set_lost(at(lost));
        let said =
            talk.say(Event::Identified { system: SystemId::new(77), timeline: tl(1), end: at(30_000) });
        let left = said.iter().any(|word| word.starts_with("report WAL of the primary ends at 0/7530"));
        assert_eq!(left, is_left, "{said:?}");
        let mut talk = Talk::connect(one(), 20_000);
        talk.0.set_lost(at(lost));
        let later =
            talk.say(Event::Identified { system: SystemId::new(77), timeline: tl(2), end: at(30_000) });
        assert!(!later.iter().any(|word| word.starts_with("report")), "{later:?}");
    }
}

#[test]
fn a_shorter_log_of_another_branch_of_the_same_number_is_told_to_be_another_branch() {
    let named = |branch: u64| {
        one().fork(tl(2), at(10_000), "test", BranchId::new(branch)).expect("the fork is on the branch")
    };
    for (theirs, word) in [(named(5), "report WAL of the primary ends"), (named(6), "report timeline 2 of")] {
        let mut talk = Talk::connect(named(5), 20_000);
        talk.0.set_lost(at(40_000));
        talk.say(Event::Identified { system: SystemId::new(77), timeline: tl(2), end: at(30_000) });
        let said = talk.history(&theirs);
        assert!(said.iter().any(|said| said.starts_with(word)), "{said:?}");
    }
}

#[test]
fn a_silent_primary_is_asked_at_half_the_timeout_and_left_at_the_whole() {
    let mut talk = Talk::streaming(SEGMENT);
    talk.1 = 10;
    assert_eq!(talk.0.wake_at(), Some(s(10)));
    assert_eq!(talk.say(Event::Tick).len(), 1, "the regular status");
    talk.1 = 30;
    let here = SEGMENT;
    assert_eq!(talk.say(Event::Tick)[0], format!("reply {here} {here} {here}?"));
    talk.1 = 60;
    let left = talk.say(Event::Tick);
    assert_eq!(left, ["report terminating walreceiver due to timeout", "disconnect"]);
    assert_eq!(talk.say(Event::Lost(ReplicaError::ReceiverTimeout)), [""; 0], "already given up");
}

#[test]
fn what_was_written_is_flushed_when_the_connection_breaks() {
    let mut talk = Talk::streaming(SEGMENT);
    talk.data(SEGMENT, 100);
    let lost = talk.say(Event::Lost(ReplicaError::ReceiverTimeout));
    assert_eq!(lost[0], "flush");
    talk.say(Event::Flushed(at(SEGMENT + 100)));
    talk.1 = 5;
    assert_eq!(talk.say(Event::Tick), ["connect"]);
    talk.say(Event::Connected { plimsoll: false });
    assert_eq!(talk.identified(1)[0], format!("start {SEGMENT} on 1"));
}

#[test]
fn stages_that_no_commit_waits_for_are_reported_unhurriedly() {
    let mut talk = Talk::streaming(SEGMENT);
    talk.say(Event::Awaited(Stages::of([Stage::Flushed])));
    talk.data(SEGMENT, 100);
    assert_eq!(talk.say(Event::Drained), ["flush"]);
    assert_eq!(talk.say(Event::Flushed(at(SEGMENT + 100))).len(), 1);
    assert_eq!(talk.say(Event::Replayed(at(SEGMENT + 100))), [""; 0]);
    assert_eq!(talk.0.wake_at(), Some(Duration::from_millis(25)));
    talk.1 = 1;
    let end = SEGMENT + 100;
    assert_eq!(talk.say(Event::Tick), [format!("reply {end} {end} {end}")]);
}

#[test]
fn a_flush_that_no_commit_waits_for_is_reported_when_one_does_or_the_pause_is_over() {
    let mut talk = Talk::streaming(SEGMENT);
    talk.say(Event::Awaited(Stages::NONE));
    let write = |talk: &mut Talk, from: u64| {
        talk.data(from, 100);
        assert_eq!(talk.say(Event::Drained), ["flush"]);
        assert_eq!(talk.say(Event::Flushed(at(from + 100))), [""; 0], "nobody waits for it");
    };
    write(&mut talk, SEGMENT);
    let end = SEGMENT + 100;
    let waits = Stages::of([Stage::Flushed]);
    assert_eq!(talk.say(Event::Awaited(waits)), [format!("reply {end} {end} {SEGMENT}")]);
    talk.0.set_replayed(at(end));
    talk.1 = 1;
    assert_eq!(talk.say(Event::Tick), [format!("reply {end} {end} {end}")], "replay is looked at");
    assert_eq!(talk.say(Event::Tick), [""; 0], "all is told");
    talk.say(Event::Awaited(Stages::NONE));
    write(&mut talk, end);
    assert_eq!(talk.0.wake_at(), Some(Duration::from_millis(1025)));
}

#[test]
fn flushes_that_no_commit_waits_for_come_after_a_pause_or_when_asked_for() {
    let mut talk = Talk::streaming(SEGMENT);
    let nothing = Stages::NONE;
    talk.say(Event::Awaited(nothing));
    talk.data(SEGMENT, 100);
    assert_eq!(talk.say(Event::Drained), ["flush"], "the first after a long time");
    talk.say(Event::Flushed(at(SEGMENT + 100)));
    talk.data(SEGMENT + 100, 100);
    assert_eq!(talk.say(Event::Drained), [""; 0]);
    assert_eq!(talk.0.wake_at(), Some(Duration::from_millis(10)));
    let asked = Event::Keepalive { primary_end: at(SEGMENT + 200), clock: wall(), reply_requested: true };
    assert_eq!(talk.say(asked), ["flush"]);
    let (end, replayed) = (SEGMENT + 200, SEGMENT);
    assert_eq!(talk.say(Event::Flushed(at(end))), [format!("reply {end} {end} {replayed}")]);
    talk.data(end, 100);
    assert_eq!(talk.say(Event::Drained), [""; 0]);
    assert_eq!(talk.say(Event::Awaited(Stages::of([Stage::Written]))).len(), 1, "that it is written");
    let waits = Stages::of([Stage::Replayed]);
    assert_eq!(talk.say(Event::Awaited(waits)), ["flush"], "a commit waits for replay");
    talk.say(Event::Flushed(at(end + 100)));
    talk.say(Event::Awaited(nothing));
    talk.data(end + 100, 100);
    talk.1 = 1;
    assert_eq!(talk.say(Event::Tick).last().map(String::as_str), Some("flush"), "the pause is over");
}

#[test]
fn a_flush_at_leisure_is_asked_for_once_and_overtaken_by_one_that_a_commit_waits_for() {
    let mut talk = Talk::streaming(SEGMENT);
    let nothing = Stages::NONE;
    talk.say(Event::Awaited(nothing));
    talk.data(SEGMENT, 100);
    assert_eq!(talk.say(Event::Drained), ["flush"]);
    assert!(talk.0.flush_at_leisure());
    talk.data(SEGMENT + 100, 100);
    talk.1 = 1;
    assert_eq!(talk.say(Event::Drained), [""; 0], "one is on its way");
    let waits = Stages::of([Stage::Flushed]);
    assert_eq!(talk.say(Event::Awaited(waits)).last().map(String::as_str), Some("flush"));
    assert!(!talk.0.flush_at_leisure());
    let end = SEGMENT + 200;
    assert_eq!(talk.say(Event::Flushed(at(end))), [format!("reply {end} {end} {SEGMENT}")]);
    assert_eq!(talk.say(Event::Flushed(at(SEGMENT + 100))), [""; 0], "the first ends after the second");
    assert_eq!(talk.0.view().flushed, at(end));
}

#[test]
fn what_is_written_is_reported_before_a_flush_that_is_due() {
    let mut talk = Talk::streaming(SEGMENT);
    talk.say(Event::Awaited(Stages::of([Stage::Written])));
    talk.data(SEGMENT, 100);
    talk.say(Event::Drained);
    talk.say(Event::Flushed(at(SEGMENT + 100)));
    talk.data(SEGMENT + 100, 100);
    talk.1 = 1;
    let (end, flushed) = (SEGMENT + 200, SEGMENT + 100);
    assert_eq!(talk.say(Event::Tick), [format!("reply {end} {flushed} {SEGMENT}"), "flush".to_owned()]);
    assert_eq!(talk.say(Event::Flushed(at(end))), [""; 0], "nobody waits for the flush");
}

#[test]
fn feedback_is_sent_at_the_start_and_taken_back_when_turned_off() {
    let mut talk = Talk(receiver(one(), SEGMENT), 0);
    talk.0.set_options(ReceiverOptions { feedback: true, ..options() });
    talk.0.set_xmin(Some(Xid::new(9)));
    talk.say(Event::Tick);
    talk.say(Event::Connected { plimsoll: false });
    talk.identified(1);
    assert!(talk.say(Event::Started).contains(&"feedback(some(xid(9)))".to_owned()));
    talk.0.set_options(options());
    assert_eq!(talk.say(Event::Tick), ["feedback(none)"], "at once");
    talk.1 = 20;
    assert!(!talk.say(Event::Tick).iter().any(|word| word.starts_with("feedback")));
    // It may have been turned off while nobody was there to hear of it.
    let mut after = Talk::connect(one(), SEGMENT);
    after.identified(1);
    assert!(after.say(Event::Started).contains(&"feedback(none)".to_owned()));
    after.1 = 20;
    assert!(!after.say(Event::Tick).iter().any(|word| word.starts_with("feedback")), "once");
}

#[test]
fn a_standby_that_lacks_two_segments_catches_up_and_one_that_lacks_less_does_not() {
    for (lacks, catches_up) in [(2 * SEGMENT, true), (2 * SEGMENT - 1, false), (0, false)] {
        let mut talk = Talk::streaming(SEGMENT);
        talk.say(Event::Keepalive {
            primary_end: at(SEGMENT + lacks),
            clock: wall(),
            reply_requested: false,
        });
        assert_eq!(talk.0.catches_up(), catches_up, "{lacks} bytes");
    }
}
