use super::*;
use wal::Replaced;
use wal::history::BranchId;

fn at(lsn: u64) -> Lsn {
    Lsn::new(lsn)
}
fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
fn plan(start: u64) -> StreamPlan {
    StreamPlan { timeline: TimelineId::new(1), start: at(start), end: None }
}
fn times() -> SenderTimes {
    SenderTimes { timeout: Some(s(60)), heartbeat: None }
}
fn sender(start: u64) -> Sender {
    Sender::new(plan(start), times(), s(0))
}
fn reply(flushed: u64) -> Reply {
    let progress = Progress { written: at(flushed), flushed: at(flushed), replayed: at(flushed) };
    Reply { progress, reply_requested: false }
}
/// Sends all there is; returns the ends of the messages.
fn drain(sender: &mut Sender, now: Duration, flushed: u64) -> Vec<u64> {
    let mut ends = Vec::new();
    while let Action::Send { from, upto } = sender.poll(now, at(flushed)) {
        assert_eq!(from, sender.sent_upto());
        assert!(upto > from && upto.bytes_since(from) <= CHUNK_BYTES_MAX);
        sender.sent(upto, now);
        ends.push(upto.get());
    }
    ends
}

#[test]
fn a_lagging_standby_gets_whole_pages_and_then_the_rest() {
    let mut sender = sender(100);
    assert_eq!(sender.state(), SenderState::Catchup);
    let page = 8192;
    assert_eq!(drain(&mut sender, s(0), 40 * page + 5), [16 * page, 32 * page, 40 * page + 5]);
    assert_eq!(sender.state(), SenderState::Streaming);
    assert_eq!(drain(&mut sender, s(0), 40 * page + 77), [40 * page + 77]);
}

#[test]
fn who_was_sent_all_there_was_has_caught_up_although_there_is_more_by_then() {
    let (mut sender, page) = (sender(100), 8192);
    let mut state = |flushed: u64, upto: u64| {
        assert!(matches!(sender.poll(s(0), at(flushed)), Action::Send { upto: end, .. } if end == at(upto)));
        sender.sent(at(upto), s(0));
        sender.state()
    };
    assert_eq!(state(17 * page, 16 * page), SenderState::Catchup);
    assert_eq!(state(18 * page, 18 * page), SenderState::Catchup, "of the first there is more");
    assert_eq!(state(19 * page, 19 * page), SenderState::Streaming);
}

#[test]
fn a_silent_standby_is_asked_at_half_the_timeout_and_given_up_at_the_whole() {
    let mut sender = sender(100);
    assert!(matches!(sender.poll(s(0), at(100)), Action::Wait { until: Some(t), .. } if t == s(30)));
    assert!(matches!(sender.poll(s(30), at(100)), Action::Keepalive { reply_requested: true }));
    assert!(matches!(sender.poll(s(31), at(100)), Action::Wait { until: Some(t), .. } if t == s(60)));
    sender.on_reply(reply(100), s(40));
    assert!(matches!(sender.poll(s(60), at(100)), Action::Wait { until: Some(t), .. } if t == s(70)));
    assert!(matches!(sender.poll(s(70), at(100)), Action::Keepalive { .. }));
    assert!(is_given_up(&mut sender, s(100)));
}

/// Whether the standby is given up now, which has said nothing that the last look finds.
fn is_given_up(sender: &mut Sender, now: Duration) -> bool {
    let ends = now + LAST_LOOK;
    let looks = |action| matches!(action, Action::LookOnce { until } if until == ends);
    looks(sender.poll(now, at(9000)))
        && looks(sender.poll(ends - Duration::from_nanos(1), at(9000)))
        && matches!(sender.poll(ends, at(9000)), Action::Fail(ReplicaError::SenderTimeout))
}

#[test]
fn a_standby_is_given_up_only_if_nothing_that_it_said_meanwhile_waits_in_the_connection() {
    let mut sender = sender(100);
    // The process was stopped for three minutes.
    assert!(matches!(sender.poll(s(180), at(900)), Action::LookOnce { .. }), "it reads first");
    sender.on_life_sign(s(180));
    assert!(matches!(sender.poll(s(180), at(900)), Action::Send { .. }));
    sender.sent(at(900), s(180));
    assert!(matches!(sender.poll(s(210), at(900)), Action::Keepalive { reply_requested: true }));
    assert!(is_given_up(&mut sender, s(240)), "there is a look for each silence");
}

#[test]
fn a_timeout_of_zero_waits_for_ever() {
    let mut sender = Sender::new(plan(1), SenderTimes::default(), s(0));
    assert!(matches!(sender.poll(s(1_000_000), at(1)), Action::Wait { until: None, .. }));
}

#[test]
fn heartbeats_go_to_plimsoll_nodes_and_never_pile_up() {
    let times = SenderTimes { heartbeat: Some(s(1)), ..times() };
    let mut sender = Sender::new(plan(1), times, s(0));
    assert!(matches!(sender.poll(s(1), at(1)), Action::Keepalive { reply_requested: true }));
    assert!(matches!(sender.poll(s(9), at(1)), Action::Wait { until: Some(t), .. } if t == s(60)));
    sender.on_reply(reply(1), s(10));
    assert!(matches!(sender.poll(s(10), at(1)), Action::Keepalive { reply_requested: true }));
}

#[test]
fn a_standby_that_asks_gets_a_keepalive_before_more_wal() {
    let mut sender = sender(1);
    sender.on_reply(Reply { reply_requested: true, ..reply(1) }, s(0));
    assert!(matches!(sender.poll(s(0), at(9)), Action::Keepalive { reply_requested: false }));
    assert!(matches!(sender.poll(s(0), at(9)), Action::Send { .. }));
}

#[test]
fn a_past_timeline_ends_with_copy_done_and_the_next_one() {
    let end = TimelineEnd { at: at(500), next: TimelineId::new(2) };
    let mut sender = Sender::new(StreamPlan { end: Some(end), ..plan(100) }, times(), s(0));
    assert_eq!(drain(&mut sender, s(0), 9000), [500], "nothing behind the end is sent");
    assert_eq!(sender.state(), SenderState::Catchup);
}

#[test]
fn a_fenced_server_sends_what_is_shared_and_then_says_what_replaced_it() {
    let replaced = Replaced { at: at(500), by: TimelineId::new(2) };
    for (start, sent) in [(100, vec![500]), (500, vec![]), (600, vec![])] {
        let mut sender = Sender::new(plan(start), times(), s(0));
        sender.on_replaced(replaced);
        let sent_now = if start < 500 { drain(&mut sender, s(0), 9000) } else { vec![] };
        assert_eq!(sent_now, sent, "from {start}");
        let Action::Fail(error) = sender.poll(s(0), at(9000)) else { panic!("it goes on from {start}") };
        assert!(error.to_string().contains("ended at 0/1F4 and goes on elsewhere as timeline 2"), "{error}");
        assert_eq!(error.sqlstate().as_str(), "25006");
    }
}

/// Of a cascading standby that follows a promoted node before it has all of the timeline that the fork ended.
#[test]
fn a_past_timeline_is_sent_no_further_than_it_is_here() {
    let mut sender = sender(1);
    assert_eq!(drain(&mut sender, s(0), 300), [300]);
    let one = TimelineHistory::root(TimelineId::new(1));
    let two = one.fork(TimelineId::new(2), at(500), "promoted", BranchId::new(7)).unwrap();
    sender.on_branch(&two, at(300)).unwrap();
    assert!(matches!(sender.poll(s(0), at(300)), Action::Wait { past, .. } if past == at(300)));
    assert!(sender.wants_log());
    assert_eq!(drain(&mut sender, s(0), 400), [400]);
    assert!(matches!(sender.poll(s(0), at(400)), Action::Wait { .. }));
    sender.sent(at(500), s(0));
    assert!(!sender.wants_log());
    assert!(matches!(sender.poll(s(0), at(900)), Action::CopyDone));
}

#[test]
fn both_sides_say_copy_done_before_the_result() {
    let end = TimelineEnd { at: at(500), next: TimelineId::new(2) };
    let mut sender = Sender::new(StreamPlan { end: Some(end), ..plan(500 - 1) }, times(), s(0));
    sender.sent(at(500), s(0));
    assert!(matches!(sender.poll(s(0), at(900)), Action::CopyDone));
    assert!(matches!(sender.poll(s(0), at(900)), Action::Wait { .. }));
    sender.on_copy_done();
    assert!(matches!(sender.poll(s(0), at(900)), Action::Finish(Finish::TimelineEnded(e)) if e == end));
}

#[test]
fn nothing_is_said_between_copy_done_and_the_standbys_own() {
    let end = TimelineEnd { at: at(500), next: TimelineId::new(2) };
    let times = SenderTimes { heartbeat: Some(s(1)), ..times() };
    let mut sender = Sender::new(StreamPlan { end: Some(end), ..plan(499) }, times, s(0));
    sender.sent(at(500), s(0));
    assert!(matches!(sender.poll(s(0), at(900)), Action::CopyDone));
    // What it asked before it heard of the end, and what this node would ask.
    sender.on_reply(Reply { reply_requested: true, ..reply(500) }, s(10));
    sender.set_successor(true);
    for second in [10, 11, 40, 69] {
        let waits = sender.poll(s(second), at(900));
        assert!(matches!(waits, Action::Wait { until: Some(t), .. } if t == s(70)), "{second}: {waits:?}");
    }
    assert!(is_given_up(&mut sender, s(70)));
}

#[test]
fn a_standby_may_leave_at_any_time() {
    let mut sender = sender(1);
    sender.on_copy_done();
    assert!(matches!(sender.poll(s(0), at(900)), Action::CopyDone));
    assert!(matches!(sender.poll(s(0), at(900)), Action::Finish(Finish::StandbyLeft)));
}

#[test]
fn a_promotion_under_a_cascading_sender_ends_the_old_timeline_where_it_forked() {
    let mut sender = sender(1);
    drain(&mut sender, s(0), 300);
    let one = TimelineHistory::root(TimelineId::new(1));
    let two = one.fork(TimelineId::new(2), at(400), "promoted", BranchId::new(7)).unwrap();
    sender.on_branch(&two, at(400)).unwrap();
    assert_eq!(drain(&mut sender, s(0), 1000), [400]);
    let early = one.fork(TimelineId::new(2), at(350), "promoted", BranchId::new(7)).unwrap();
    assert!(matches!(sender.on_branch(&early, at(350)), Err(ReplicaError::PastFork { .. })));
    let stranger = TimelineHistory::root(TimelineId::new(9));
    assert!(matches!(sender.on_branch(&stranger, at(400)), Err(ReplicaError::NoTimeline(_))));
}

#[test]
fn a_sender_that_has_sent_more_than_its_own_log_keeps_ends_its_stream() {
    let mut sender = sender(1);
    drain(&mut sender, s(0), 300);
    let one = TimelineHistory::root(TimelineId::new(1));
    sender.on_branch(&one, at(300)).unwrap();
    let refused = sender.on_branch(&one, at(299));
    assert!(
        matches!(refused, Err(ReplicaError::PastFork { .. })),
        "the timeline is the same, its end is cut"
    );
}

#[test]
fn a_stopping_server_waits_until_the_standby_has_flushed_the_last_record() {
    let mut sender = sender(1);
    drain(&mut sender, s(0), 300);
    sender.on_stopping();
    assert_eq!(sender.state(), SenderState::Stopping);
    assert!(matches!(sender.poll(s(0), at(300)), Action::Wait { .. }), "more may come");
    sender.on_reply(reply(300), s(1));
    sender.on_log_end(at(400));
    assert_eq!(drain(&mut sender, s(1), 400), [400], "the shutdown checkpoint");
}

#[test]
fn the_last_reply_decides_when_a_stop_is_over() {
    let mut sender = sender(1);
    sender.on_log_end(at(400));
    assert!(matches!(sender.poll(s(0), at(400)), Action::Send { .. }));
    sender.sent(at(400), s(0));
    assert!(matches!(sender.poll(s(0), at(400)), Action::Keepalive { reply_requested: true }));
    assert!(matches!(sender.poll(s(0), at(400)), Action::Wait { .. }));
    sender.on_reply(reply(399), s(1));
    assert!(matches!(sender.poll(s(1), at(400)), Action::Keepalive { reply_requested: true }));
    sender.on_reply(reply(400), s(1));
    assert!(matches!(sender.poll(s(1), at(400)), Action::Finish(Finish::Stopped)));
}

#[test]
fn a_receiver_that_never_flushes_counts_by_what_it_has_written() {
    let mut sender = sender(400);
    sender.on_log_end(at(400));
    let written = Progress { written: at(400), ..Progress::default() };
    sender.on_reply(Reply { progress: written, reply_requested: false }, s(0));
    assert!(matches!(sender.poll(s(0), at(400)), Action::Finish(Finish::Stopped)));
}

#[test]
fn wal_that_no_commit_waits_for_goes_out_a_moment_apart() {
    let ms = Duration::from_millis;
    let mut sender = sender(100);
    sender.set_hurried(false);
    assert_eq!(drain(&mut sender, ms(50), 200), [200], "what comes after a rest goes at once");
    let held = sender.poll(ms(50), at(300));
    assert!(matches!(held, Action::Wait { until: Some(t), past }
            if t == ms(50) + UNHURRIED_PAUSE && past == at(200 + UNHURRIED_BYTES)));
    assert_eq!(drain(&mut sender, ms(51), 400), [400], "what came meanwhile goes with it");
    assert_eq!(
        drain(&mut sender, ms(51), 401 + UNHURRIED_BYTES),
        [401 + UNHURRIED_BYTES],
        "much goes at once"
    );
    assert_eq!(drain(&mut sender, ms(51), 500 + UNHURRIED_BYTES), [0; 0]);
    sender.set_streams(16);
    assert_eq!(
        drain(&mut sender, ms(54), 500 + UNHURRIED_BYTES),
        [0; 0],
        "sixteen streams send less often each"
    );
    sender.set_hurried(true);
    assert_eq!(
        drain(&mut sender, ms(51), 500 + UNHURRIED_BYTES),
        [500 + UNHURRIED_BYTES],
        "a commit waits now"
    );
}
