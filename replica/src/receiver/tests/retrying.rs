use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
fn away() -> Event {
    let what = "could not connect to the primary server".to_owned();
    Event::Lost(ReplicaError::Connection { what, cause: "it is away".to_owned() })
}
fn stopped() -> Event {
    Event::Lost(ReplicaError::StreamTerminated("it stops".to_owned()))
}
/// A failure that the log has.
const TOLD: [&str; 2] = ["report could not connect to the primary server: it is away", "disconnect"];

/// What follows, at a time in milliseconds, and when the next try comes.
fn say(talk: &mut Talk, now: u64, event: Event) -> (Vec<String>, Option<Duration>) {
    let said = words(&talk.0.handle(event, ms(now), wall()));
    (said, talk.0.wake_at())
}
fn connects(talk: &mut Talk, now: u64) {
    assert_eq!(say(talk, now, Event::Tick).0, ["connect"], "{now}");
}
fn said(words: &[&str], next: u64) -> (Vec<String>, Option<Duration>) {
    (words.iter().map(|word| (*word).to_owned()).collect(), Some(ms(next)))
}

#[test]
fn a_primary_that_stops_is_tried_again() {
    let mut talk = Talk::connect(one(), SEGMENT);
    assert_eq!(talk.0.view().status, ReceiverStatus::Starting);
    talk.identified(1);
    talk.say(Event::Started);
    assert_eq!(talk.0.view().status, ReceiverStatus::Streaming);
    talk.say(Event::StreamEnded { next: None });
    assert_eq!(talk.0.view().status, ReceiverStatus::Restarting, "also before anything was received");
    let ended = talk.say(Event::StreamEnded { next: None });
    assert!(ended[0].starts_with("report replication terminated by primary server"), "{ended:?}");
    assert_eq!(talk.0.view().status.name(), "waiting");
}

#[test]
fn a_stream_that_is_ended_by_order_is_tried_again_at_once_unless_it_had_just_begun() {
    for (after, said, pause) in [(5, "end it stops", 0), (4, "report it stops", 5)] {
        let mut talk = Talk::streaming(SEGMENT);
        talk.1 = after;
        let ended = ReplicaError::StreamTerminated("it stops".to_owned());
        assert_eq!(talk.say(Event::Lost(ended)), [said, "disconnect"]);
        assert_eq!(talk.0.wake_at(), Some(s(after + pause)));
    }
}

#[test]
fn a_primary_that_restarts_is_looked_for_with_growing_pauses_and_few_words() {
    let mut talk = Talk::streaming(SEGMENT);
    assert_eq!(say(&mut talk, 5000, stopped()), said(&["end it stops", "disconnect"], 5000));
    connects(&mut talk, 5000);
    assert_eq!(say(&mut talk, 5000, away()), said(&TOLD, 5050));
    let tries = [5050, 5150, 5350, 5750, 6550, 8150, 10_000];
    for pair in tries.windows(2) {
        connects(&mut talk, pair[0]);
        assert_eq!(say(&mut talk, pair[0], away()), said(&["disconnect"], pair[1]));
    }
    for now in [10_000, 15_000, 20_000] {
        connects(&mut talk, now);
        assert_eq!(say(&mut talk, now, away()), said(&TOLD, now + 5000), "it fails again and again");
    }
}

#[test]
fn a_primary_whose_connection_broke_is_looked_for_too_unless_it_had_just_begun() {
    let mut talk = Talk::streaming(SEGMENT);
    assert_eq!(say(&mut talk, 4999, away()), said(&TOLD, 9999));
    let mut talk = Talk::streaming(SEGMENT);
    assert_eq!(say(&mut talk, 5000, away()), said(&TOLD, 5050));
    connects(&mut talk, 5050);
    assert_eq!(say(&mut talk, 5050, away()), said(&["disconnect"], 5150));
}

#[test]
fn one_that_is_back_and_refuses_is_told_of_and_tried_again_after_the_interval() {
    let mut talk = Talk::streaming(SEGMENT);
    say(&mut talk, 5000, away());
    connects(&mut talk, 5050);
    say(&mut talk, 5050, Event::Connected { plimsoll: true });
    let what = "start WAL streaming";
    let refused =
        ReplicaError::Refused { what, code: protocol::SqlState::INTERNAL_ERROR, message: "no".to_owned() };
    let (said, next) = say(&mut talk, 5050, Event::Lost(refused));
    assert!(said[0].starts_with("report "), "{said:?}");
    assert_eq!(next, Some(ms(10_050)));
}

#[test]
fn another_source_that_is_named_meanwhile_is_tried_as_a_new_one() {
    let mut talk = Talk::streaming(SEGMENT);
    say(&mut talk, 5000, away());
    talk.0.try_at_once();
    connects(&mut talk, 5001);
    assert_eq!(say(&mut talk, 5001, away()), said(&TOLD, 10_001));
}

#[test]
fn a_standby_that_did_not_run_asks_its_primary_before_it_takes_it_for_silent() {
    let mut talk = Talk::streaming(SEGMENT);
    talk.1 = 1000;
    let here = SEGMENT;
    assert_eq!(talk.say(Event::Tick)[0], format!("reply {here} {here} {here}?"));
    talk.say(Event::Keepalive { primary_end: at(SEGMENT), clock: wall(), reply_requested: false });
    talk.1 = 2000;
    assert_eq!(talk.say(Event::Tick)[0], format!("reply {here} {here} {here}?"));
    talk.1 = 2030;
    let left = talk.say(Event::Tick);
    assert_eq!(left, ["report terminating walreceiver due to timeout", "disconnect"]);
}
