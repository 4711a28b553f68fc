use super::*;
use crate::roster::route::{Judged, Source};

const SERVER: &str = "\"b\", port 1";

/// A stream of one of several servers, or of the only one.
fn streaming(has_others: bool) -> Talk {
    let mut talk = Talk::streaming(SEGMENT);
    talk.0.set_server(SERVER.to_owned(), has_others);
    talk
}
fn tells(talk: &mut Talk, source: Source, judged: Judged) -> Vec<String> {
    talk.say(Event::Route { source, judged })
}
/// Keepalives come until then. Gives what follows, but for replies.
fn wait_until(talk: &mut Talk, end: u64) -> Vec<String> {
    while talk.1 < end {
        talk.1 += 1;
        talk.say(Event::Keepalive { primary_end: at(SEGMENT), clock: wall(), reply_requested: false });
        let mut said = talk.say(Event::Tick);
        said.retain(|word| !word.starts_with("reply "));
        if !said.is_empty() {
            return said;
        }
    }
    Vec::new()
}
fn left(seconds: u64) -> Vec<String> {
    let what = format!("report no primary was heard of over the server at {SERVER} for {seconds} s");
    vec![what, "disconnect".to_owned()]
}
/// It is the same server again.
fn again(talk: &mut Talk) {
    talk.1 += 5;
    assert_eq!(talk.say(Event::Tick), ["connect"]);
    talk.say(Event::Connected { plimsoll: true });
    talk.identified(1);
    talk.say(Event::Started);
    assert_eq!(tells(talk, Source::Nobody, Judged::Fine), [""; 0]);
}

#[test]
fn a_server_that_receives_from_this_one_is_left_at_once() {
    for has_others in [true, false] {
        let mut talk = streaming(has_others);
        let said = tells(&mut talk, Source::Nobody, Judged::Leave);
        let what =
            format!("report the server at {SERVER} receives from this server, directly or over others");
        assert_eq!(said, [what, "disconnect".to_owned()]);
        assert_eq!(talk.0.wake_at(), Some(s(5)), "tried again after a pause");
    }
}

#[test]
fn a_server_without_a_primary_is_left_for_others_less_and_less_often() {
    let mut talk = streaming(true);
    tells(&mut talk, Source::Nobody, Judged::Fine);
    for seconds in [60, 120, 240, 480, 960, 960] {
        let began = talk.1;
        assert_eq!(wait_until(&mut talk, began + seconds - 1), [""; 0]);
        assert_eq!(wait_until(&mut talk, began + seconds), left(seconds));
        again(&mut talk);
    }
    // A receiver after this one goes on from there.
    let mut next = streaming(true);
    next.0.set_servers_left(talk.0.servers_left());
    tells(&mut next, Source::Nobody, Judged::Fine);
    assert_eq!(wait_until(&mut next, 960), left(960));
    // One is heard of, and lost again.
    assert_eq!(tells(&mut talk, Source::Primary, Judged::Fine), [""; 0]);
    let now = talk.1;
    assert_eq!(wait_until(&mut talk, now + 5000), [""; 0]);
    tells(&mut talk, Source::Nobody, Judged::Fine);
    assert_eq!(wait_until(&mut talk, now + 5060), left(60));
}

#[test]
fn one_that_leaves_a_ring_to_another_member_waits_as_for_a_primary() {
    let mut talk = streaming(true);
    assert_eq!(tells(&mut talk, Source::Nobody, Judged::Wait), [""; 0]);
    assert_eq!(wait_until(&mut talk, 60), left(60));
}

#[test]
fn nobody_leaves_the_only_server_that_he_knows_or_one_that_does_not_say_where_its_log_comes_from() {
    let mut alone = streaming(false);
    tells(&mut alone, Source::Nobody, Judged::Fine);
    assert_eq!(wait_until(&mut alone, 5000), [""; 0]);
    let mut untold = streaming(true);
    assert_eq!(wait_until(&mut untold, 5000), [""; 0]);
    tells(&mut untold, Source::Nobody, Judged::Fine);
    tells(&mut untold, Source::Untold, Judged::Fine);
    assert_eq!(wait_until(&mut untold, 10_000), [""; 0]);
}
