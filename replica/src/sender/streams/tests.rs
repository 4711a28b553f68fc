use super::*;
use crate::roster::{Address, Seen, Statement};
use wal::history::TimelineHistory;
use wal::{LogBranch, NodeLog};

fn at(lsn: u64) -> Lsn {
    Lsn::new(lsn)
}
fn now() -> Timestamp {
    Timestamp::from_micros(5)
}
fn table(names: &str) -> (Senders, Arc<Mutex<Vec<RemoteProgress>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let senders = Senders::new(3, move |progress| sink.lock().push(progress));
    senders.set_names(SyncNames::parse(names).unwrap());
    (senders, seen)
}
fn stream(senders: &Senders, name: &str) -> SenderHandle {
    let info = SenderInfo { application_name: name.to_owned(), ..SenderInfo::default() };
    let handle = senders.register(info).unwrap();
    handle.set_state(SenderState::Streaming, TimelineId::FIRST);
    handle
}
fn everywhere(lsn: u64) -> Progress {
    Progress { written: at(lsn), flushed: at(lsn), replayed: at(lsn) }
}
/// A standby reports that it has what it was sent.
fn report(handle: &SenderHandle, lsn: u64) {
    handle.on_sent(at(lsn), now());
    handle.on_reply(everywhere(lsn), now(), now());
}
/// The standby's directory has this id, and its node knows these others and listens at a port of the host
/// from which it connected.
fn tells(handle: &SenderHandle, id: u64, port: Option<u16>, knows: &[u64]) {
    tells_from(None, handle, id, port.map(|port| ("", port)), knows);
}
/// The same of a node that connected from there and listens at this address.
fn tells_from(from: Option<&str>, handle: &SenderHandle, id: u64, at: Option<(&str, u16)>, knows: &[u64]) {
    let of = |id, addresses| {
        let (name, age) = (String::new(), Duration::ZERO);
        Statement { id: DirectoryId::new(id), stated: 1, name, addresses, age }
    };
    let own = of(id, at.map(|(host, port)| Address::new(host, port).unwrap()).into_iter().collect());
    let others = knows.iter().map(|other| of(*other, Vec::new()));
    let told: Vec<Statement> = std::iter::once(own).chain(others).collect();
    handle.set_node(&told, &Seen::client(from.map(|host| host.parse().unwrap())));
    handle.set_directory(DirectoryId::new(id), Vec::new());
}
fn log() -> NodeLog {
    let live = wal::Live::Standby(Arc::new(wal::StandbyPositions::new(at(10))));
    NodeLog::new(TimelineHistory::root(TimelineId::FIRST), live, LogBranch::unrecorded())
}

#[test]
fn what_the_quorum_reached_is_passed_on_and_never_goes_back() {
    let (senders, seen) = table("FIRST 1 (a, b)");
    let (a, b) = (stream(&senders, "a"), stream(&senders, "b"));
    report(&b, 50);
    assert_eq!(seen.lock().last().unwrap().flushed, at(50), "a has not said anything yet");
    report(&a, 30);
    assert_eq!(seen.lock().last().unwrap().flushed, at(50));
    report(&a, 80);
    assert_eq!(seen.lock().last().unwrap().flushed, at(80));
    drop(a);
    assert_eq!(senders.synced().flushed, at(80));
    assert!(seen.lock().iter().all(|progress| progress.required));
}

#[test]
fn nobody_has_more_than_he_was_sent() {
    let (senders, seen) = table("a");
    let a = stream(&senders, "a");
    a.on_sent(at(40), now());
    assert_eq!(a.believe(everywhere(u64::MAX)), (everywhere(40), true));
    assert_eq!(a.believe(everywhere(u64::MAX)), (everywhere(40), false), "it is told once");
    a.on_reply(everywhere(u64::MAX), now(), now());
    drop(a);
    assert_eq!(seen.lock().last().unwrap().flushed, at(40));
}

#[test]
fn what_was_reported_of_a_branch_that_was_left_counts_up_to_where_it_was_left() {
    let (senders, seen) = table("a, b");
    let log = log();
    log.observe(Arc::new(senders.clone()));
    let (a, b) = (stream(&senders, "a"), stream(&senders, "b"));
    report(&a, 50);
    report(&b, 30);
    let history = log.state().history.clone();
    log.branch(history, at(40)).unwrap();
    assert_eq!(senders.synced(), everywhere(40));
    assert_eq!(senders.rows(at(40), now())[0].sent, at(40));
    // A report of before that arrives only now; the stream has not looked at the new log.
    a.on_reply(everywhere(50), now(), now());
    assert_eq!(a.believe(everywhere(50)), (everywhere(40), false), "that was no lie");
    assert_eq!(seen.lock().last().unwrap().flushed, at(40));
    // One that has sent nothing of the part that is cut goes on; a new stream counts from its start.
    b.follow(0);
    report(&b, 60);
    assert_eq!(senders.synced(), everywhere(40), "it follows the log of before");
    b.follow(1);
    report(&b, 60);
    drop(a);
    report(&b, 70);
    assert_eq!(senders.synced(), everywhere(70));
}

#[test]
fn a_reload_that_names_nobody_frees_the_commits() {
    let (senders, seen) = table("a");
    assert!(seen.lock().last().unwrap().required);
    senders.set_names(None);
    assert!(!seen.lock().last().unwrap().required);
}

#[test]
fn a_standby_that_is_still_catching_up_does_not_confirm_commits() {
    let (senders, _) = table("a");
    let a = senders.register(SenderInfo { application_name: "A".into(), ..SenderInfo::default() }).unwrap();
    a.set_state(SenderState::Catchup, TimelineId::FIRST);
    report(&a, 70);
    assert_eq!(senders.synced(), Progress::default());
    a.set_state(SenderState::Streaming, TimelineId::FIRST);
    assert_eq!(senders.synced().flushed, at(70));
}

#[test]
fn a_copy_in_the_making_confirms_nothing_until_it_replays() {
    let (senders, _) = table("*");
    let of = |copy| SenderInfo { application_name: "a".into(), copy, ..SenderInfo::default() };
    let said = senders.register(of(Copying::Yes)).unwrap();
    said.set_state(SenderState::Streaming, TimelineId::FIRST);
    said.on_sent(at(90), now());
    said.on_reply(everywhere(90), now(), now());
    assert_eq!(senders.synced(), Progress::default(), "whatever it reports");
    drop(said);
    let copy = senders.register(of(Copying::Perhaps)).unwrap();
    copy.set_state(SenderState::Streaming, TimelineId::FIRST);
    copy.on_sent(at(70), now());
    copy.on_reply(Progress { replayed: Lsn::INVALID, ..everywhere(70) }, now(), now());
    assert_eq!(senders.synced(), Progress::default());
    let copying = || senders.rows(at(90), now()).iter().map(|row| row.copying).collect::<Vec<_>>();
    assert_eq!(copying(), [true]);
    // A standby may read through a temporary slot.
    copy.on_reply(everywhere(60), now(), now());
    assert_eq!(senders.synced(), everywhere(60));
    assert_eq!(copying(), [false]);
}

#[test]
fn a_standby_that_is_connected_twice_counts_once() {
    let (senders, _) = table("FIRST 2 (b, a)");
    let (one, two) = (DirectoryId::new(1), DirectoryId::new(2));
    let old = stream(&senders, "a");
    old.set_directory(one, Vec::new());
    report(&old, 50);
    let new = stream(&senders, "b");
    new.set_directory(one, Vec::new());
    report(&new, 50);
    assert_eq!(senders.synced(), Progress::default(), "under another name it is the same");
    let other = stream(&senders, "a");
    other.set_directory(two, Vec::new());
    report(&other, 40);
    assert_eq!(senders.synced(), everywhere(40));
    // What the newer held is held: the older goes on where that is gone.
    drop(new);
    report(&other, 60);
    assert_eq!(senders.synced(), everywhere(50));
    drop((old, other));
    // PostgreSQL's standbys do not say what they work on.
    let (silent, also) = (stream(&senders, "b"), stream(&senders, "b"));
    report(&silent, 70);
    report(&also, 70);
    assert_eq!(senders.synced(), everywhere(70));
}

#[test]
fn a_standby_whose_directory_has_a_new_id_counts_once_unless_the_old_one_lives() {
    let (senders, _) = table("ANY 2 (a, b)");
    let [was, is] = [1, 2].map(DirectoryId::new);
    let old = stream(&senders, "a");
    old.set_directory(was, Vec::new());
    report(&old, 50);
    let new = stream(&senders, "a");
    new.set_directory(is, vec![was]);
    report(&new, 60);
    assert_eq!(senders.synced(), Progress::default());
    old.lives_on(is);
    assert_eq!(senders.synced(), Progress::default(), "that is another one");
    old.lives_on(was);
    assert_eq!(senders.synced(), everywhere(50));
}

#[test]
fn a_standby_that_was_made_anew_does_not_count_with_its_old_connection() {
    let (senders, _) = table("ANY 2 (*)");
    let old = stream(&senders, "a");
    tells(&old, 1, Some(5432), &[]);
    report(&old, 50);
    let new = stream(&senders, "a");
    tells(&new, 2, Some(5432), &[1]);
    report(&new, 60);
    assert_eq!(senders.synced(), Progress::default(), "one directory has it");
    let other = stream(&senders, "a");
    tells(&other, 3, Some(5433), &[]);
    report(&other, 40);
    assert_eq!(senders.synced(), everywhere(40));
    drop(new);
    report(&other, 60);
    assert_eq!(senders.synced(), everywhere(40), "what the old one had is gone for good");
    tells(&old, 1, Some(5432), &[3]);
    assert_eq!(senders.synced(), everywhere(40), "it does not know who came in its place");
    tells(&old, 1, Some(5432), &[2, 3]);
    assert_eq!(senders.synced(), everywhere(50), "it lived then");
}

#[test]
fn a_standby_that_was_made_anew_is_known_at_another_of_its_addresses_by_its_network() {
    let synced = |[first, later]: [&[u8]; 2], [was, is]: [(&str, u16); 2]| {
        let (senders, _) = table("ANY 2 (*)");
        let (old, new) = (stream(&senders, "a"), stream(&senders, "a"));
        old.set_network(first);
        tells_from(Some("127.0.0.1"), &old, 1, Some(was), &[]);
        report(&old, 50);
        new.set_network(later);
        tells_from(Some("::1"), &new, 2, Some(is), &[1]);
        report(&new, 60);
        let synced = senders.synced();
        tells_from(Some("127.0.0.1"), &old, 1, Some(was), &[2]);
        assert_eq!(senders.synced(), everywhere(50), "both live");
        synced
    };
    let (network, long): (&[u8], _) = (b"1 net:[1]", [b'x'; 256]);
    let (all, one, other) = ("", "127.0.0.1", "10.0.0.7");
    // It may listen at another address than before, too.
    for [was, is] in [[all, all], [one, all], [all, other], [other, all]] {
        let at = |port| [(was, 5432), (is, port)];
        assert_eq!(synced([network, network], at(5432)), Progress::default(), "{was} {is}");
        // Another port, another network, and nodes that name none.
        assert_eq!(synced([network, network], at(5433)), everywhere(50));
        let apart: [[&[u8]; 2]; 4] = [[network, b"1 net:[2]"], [network, b""], [b"", b""], [&long, &long]];
        for networks in apart {
            assert_eq!(synced(networks, at(5432)), everywhere(50), "{networks:?} {was} {is}");
        }
    }
    // These may have a server each at one time: the older could be one that cannot tell of the newer.
    for [was, is] in [[one, other], ["/tmp", all], [all, "/tmp"], ["/tmp", "/run"]] {
        assert_eq!(synced([network, network], [(was, 5432), (is, 5432)]), everywhere(50), "{was} {is}");
    }
}

#[test]
fn two_standbys_of_one_name_count_twice_unless_they_must_be_at_one_address() {
    // Where each listens, and whether it knows the other; None for a server that does not tell.
    let synced = |(port, knows): (Option<u16>, bool), later: Option<(Option<u16>, bool)>| {
        let (senders, _) = table("ANY 2 (*)");
        let (one, two) = (stream(&senders, "a"), stream(&senders, "a"));
        tells(&one, 1, port, if knows { &[2] } else { &[] });
        if let Some((port, knows)) = later {
            tells(&two, 2, port, if knows { &[1] } else { &[] });
        }
        report(&one, 50);
        report(&two, 50);
        senders.synced()
    };
    let (here, there) = (Some(5432), Some(5433));
    assert_eq!(synced((here, false), Some((here, true))), Progress::default());
    for (first, later) in [
        ((here, false), Some((there, false))),
        ((here, true), Some((here, true))),
        ((None, false), Some((None, false))),
        ((here, false), Some((None, false))),
        ((here, false), None),
    ] {
        assert_eq!(synced(first, later), everywhere(50), "{first:?} {later:?}");
    }
}

#[test]
fn two_servers_on_copies_of_one_directory_are_told_from_an_old_connection() {
    let (senders, _) = table("a");
    let (old, new) = (stream(&senders, "a"), stream(&senders, "a"));
    let reports = |lsn| old.on_reply(everywhere(lsn), now(), now());
    old.set_directory(DirectoryId::new(1), Vec::new());
    old.on_sent(at(50), now());
    new.set_directory(DirectoryId::new(1), Vec::new());
    assert_eq!(reports(50), None, "it was on its way");
    old.on_sent(at(60), now());
    assert_eq!(reports(50), None);
    assert_eq!(reports(60), Some(DirectoryId::new(1)));
    assert_eq!(reports(60), None, "it is told once");
}

#[test]
fn rows_say_who_counts_and_how_far_behind_each_is() {
    let (senders, _) = table("FIRST 1 (b, a)");
    let (a, _b) = (stream(&senders, "a"), stream(&senders, "b"));
    a.on_sent(at(100), now());
    report(&a, 90);
    senders.note_flushed(at(120), Timestamp::from_micros(9));
    let rows = senders.rows(at(120), Timestamp::from_micros(1005));
    let shown: Vec<_> = rows.iter().map(|row| (row.priority, row.sync_state.name())).collect();
    assert_eq!(shown, [(2, "sync"), (0, "async")], "b has not flushed anything");
    assert_eq!((rows[0].lag.flushed.bytes, rows[0].lag.flushed.age.as_micros()), (30, 1000));
}

#[test]
fn what_a_standby_needs_is_kept_from_one_stream_of_its_connection_to_the_next_and_nothing_else() {
    let (senders, seen) = table("a");
    let mut a = stream(&senders, "a");
    a.set_xmin(Some(Xid::new(7)));
    report(&a, 40);
    a.rest();
    let row = || senders.rows(at(50), now()).remove(0);
    assert_eq!((row().state, row().progress), (SenderState::Startup, Progress::default()));
    assert_eq!(senders.oldest_xmin(), Some(Xid::new(7)));
    a.again(SenderInfo { application_name: "b".to_owned(), ..SenderInfo::default() });
    assert_eq!((row().info.application_name.as_str(), senders.rows(at(50), now()).len()), ("b", 1));
    assert_eq!(senders.oldest_xmin(), Some(Xid::new(7)));
    a.set_state(SenderState::Streaming, TimelineId::FIRST);
    report(&a, 60);
    assert_eq!(seen.lock().last().unwrap().flushed, at(40), "b is not waited for");
    drop(a);
    assert_eq!(senders.oldest_xmin(), None);
}

#[test]
fn max_wal_senders_bounds_the_streams() {
    let (senders, _) = table("");
    let held: Vec<_> = ["a", "b", "c"].map(|name| stream(&senders, name)).into();
    let error = senders.register(SenderInfo::default()).unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "53300");
    drop(held);
    assert_eq!(*senders.count().borrow(), 0);
}
