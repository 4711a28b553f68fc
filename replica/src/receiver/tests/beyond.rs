use super::*;

/// The record at the end is here up to the segment at this place.
const BEYOND: u64 = 2 * SEGMENT;
const END: u64 = 2 * SEGMENT - 20_000;

fn removed() -> Event {
    let (what, code) = ("receive data from WAL stream", protocol::SqlState::UNDEFINED_FILE);
    Event::Lost(ReplicaError::Refused { what, code, message: "it is removed".to_owned() })
}

/// It asked for the record's beginning, which is gone.
fn gone() -> Talk {
    let mut talk = Talk::connect(one(), END);
    talk.0.set_begun(at(END), at(BEYOND));
    let page = END / 8192 * 8192;
    assert_eq!(talk.identified(1)[0], format!("start {page} on 1"));
    talk.say(Event::Started);
    let said = talk.say(removed());
    assert!(said[0].starts_with("end could not receive data from WAL stream"), "{said:?}");
    assert_eq!(said[1..], ["disconnect".to_owned(), format!("goonat({:?})", at(BEYOND)).to_lowercase()]);
    assert_eq!(said_next(&mut talk), "connect");
    talk.say(Event::Connected { plimsoll: false });
    assert_eq!(talk.identified(1)[0], format!("start {BEYOND} on 1"));
    talk
}

fn said_next(talk: &mut Talk) -> String {
    talk.say(Event::Tick).concat()
}

#[test]
fn a_source_that_removed_a_records_beginning_is_asked_for_its_rest_and_told_nothing_before_that_is_whole() {
    let mut talk = gone();
    assert_eq!(talk.say(Event::Started), ["reply 0 0 0", "feedback(none)"]);
    assert_eq!(talk.0.unproven(), Some(at(END)));
    talk.data_came(BEYOND, 1000);
    talk.say(Event::Written(at(BEYOND + 1000)));
    talk.say(Event::Flushed(at(BEYOND + 1000)));
    let asked = Event::Keepalive { primary_end: at(BEYOND + 1000), clock: wall(), reply_requested: true };
    assert_eq!(talk.say(asked), ["reply 0 0 0"]);
    assert_eq!((talk.0.view().written, talk.0.view().flushed), (at(END), at(END)));
    let end = BEYOND + 1000;
    let told = format!("reply {end} {end} {END}");
    assert_eq!(talk.say(Event::Proven), ["count".to_owned(), told]);
    assert_eq!((talk.0.unproven(), talk.0.view().flushed), (None, at(end)));
}

#[test]
fn a_record_that_proves_to_be_torn_is_asked_for_from_its_beginning_again() {
    let mut talk = gone();
    talk.say(Event::Started);
    talk.data_came(BEYOND, 1000);
    talk.say(Event::Written(at(BEYOND + 1000)));
    let said = talk.say(Event::Disproved("a wrong checksum".to_owned()));
    assert_eq!(said[0], format!("goonat({:?})", at(END)).to_lowercase());
    assert!(said[1].starts_with("report the record at 0/1FB1E0 is damaged here"), "{said:?}");
    assert_eq!((talk.0.unproven(), talk.0.end().0), (None, at(END)));
    talk.1 = 5;
    assert_eq!(said_next(&mut talk), "connect");
    talk.say(Event::Connected { plimsoll: false });
    assert_eq!(talk.identified(1)[0], format!("start {} on 1", END / 8192 * 8192));
    // That source has the record's second segment, too.
    let said = talk.say(removed());
    assert_eq!(said[2], format!("goonat({:?})", at(2 * SEGMENT)).to_lowercase());
}

#[test]
fn a_source_that_lacks_the_rest_too_or_fails_otherwise_is_asked_again_after_a_pause() {
    let mut talk = gone();
    talk.say(Event::Started);
    let said = talk.say(removed());
    assert!(said[0].starts_with("report could not receive data from WAL stream"), "{said:?}");
    let mut talk = Talk::connect(one(), END);
    talk.0.set_begun(at(END), at(BEYOND));
    talk.identified(1);
    talk.say(Event::Started);
    let lost = ReplicaError::StreamTerminated("it stops".to_owned());
    talk.say(Event::Lost(lost));
    talk.1 = 5;
    assert_eq!(said_next(&mut talk), "connect");
    talk.say(Event::Connected { plimsoll: false });
    assert_eq!(talk.identified(1)[0], format!("start {} on 1", END / 8192 * 8192));
}

#[test]
fn a_branch_that_leaves_within_the_record_or_before_has_another_rest() {
    for (leaves_at, goes_on) in [(BEYOND + 10_000, true), (BEYOND - 8192, false)] {
        let two = fork(&one(), 2, leaves_at);
        let mut talk = Talk::connect(one(), END);
        talk.0.set_begun(at(END), at(BEYOND));
        talk.identified(2);
        let said = talk.history(&two);
        assert!(said.iter().any(|word| word.starts_with("start ")), "{said:?}");
        talk.say(Event::Started);
        let said = talk.say(removed());
        assert_eq!(said.iter().any(|word| word.starts_with("goonat")), goes_on, "{said:?}");
    }
}

#[test]
fn another_branch_that_begins_before_the_record_has_all_count_that_is_kept() {
    let mut talk = gone();
    talk.say(Event::StreamEnded { next: None });
    talk.say(removed());
    talk.1 = 5;
    said_next(&mut talk);
    talk.say(Event::Connected { plimsoll: false });
    talk.identified(2);
    assert_eq!(talk.history(&fork(&one(), 2, END)), ["findwholeend"]);
    talk.say(Event::WholeEnd(at(END)));
    assert!(talk.0.unproven().is_none() && talk.0.end().0 == at(END));
}

#[test]
fn each_segment_of_the_record_is_asked_for_until_the_source_has_one() {
    let mut talk = Talk::connect(one(), END);
    talk.0.set_begun(at(END), at(BEYOND + 2 * SEGMENT + 8192));
    talk.identified(1);
    for next in [BEYOND, BEYOND + SEGMENT, BEYOND + 2 * SEGMENT] {
        talk.say(Event::Started);
        let said = talk.say(removed());
        assert_eq!(said[2], format!("goonat({:?})", at(next)).to_lowercase());
        assert_eq!(said_next(&mut talk), "connect");
        talk.say(Event::Connected { plimsoll: false });
        assert_eq!(talk.identified(1)[0], format!("start {next} on 1"));
        assert_eq!(talk.0.unproven(), Some(at(END)));
    }
    talk.say(Event::Started);
    assert!(talk.say(removed())[0].starts_with("report could not receive"));
}

/// The source removes it while it sends it again.
#[test]
fn a_record_whose_beginning_comes_in_part_before_it_is_removed_is_proven_from_its_start() {
    let mut talk = Talk::connect(one(), END);
    talk.0.set_begun(at(END), at(BEYOND));
    talk.identified(1);
    talk.say(Event::Started);
    let page = END / 8192 * 8192;
    talk.data_came(page, 12_000);
    talk.say(Event::Written(at(page + 12_000)));
    let said = talk.say(removed());
    assert_eq!(said[2], format!("goonat({:?})", at(BEYOND)).to_lowercase());
    assert_eq!(talk.0.unproven(), Some(at(END)));
}

#[test]
fn a_segment_that_is_removed_while_it_comes_is_passed_over_if_more_of_the_record_is_here() {
    let mut talk = Talk::connect(one(), END);
    talk.0.set_begun(at(END), at(BEYOND + 3 * SEGMENT));
    talk.identified(1);
    talk.say(Event::Started);
    talk.say(removed());
    said_next(&mut talk);
    talk.say(Event::Connected { plimsoll: false });
    talk.identified(1);
    talk.say(Event::Started);
    let len = usize::try_from(SEGMENT + 8192).unwrap();
    talk.data_came(BEYOND, len);
    talk.say(Event::Written(at(BEYOND + SEGMENT + 8192)));
    let said = talk.say(removed());
    assert_eq!(said[2], format!("goonat({:?})", at(BEYOND + 2 * SEGMENT)).to_lowercase());
    assert_eq!(talk.0.unproven(), Some(at(END)));
}
