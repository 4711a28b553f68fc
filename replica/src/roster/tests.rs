use super::file::{ROSTER_FILE, load, save};
use super::heard_file::{GivenUp, HEARD_FILE};
use super::statement::{decode, encode};
use super::*;
use host::Host;
use wal::Lsn;
use wal::history::BranchId;

fn id(number: u64) -> DirectoryId {
    DirectoryId::new(number)
}

fn address(host: &str, port: u16) -> Address {
    Address::new(host, port).unwrap()
}

fn said(number: u64, stated: u64, host: &str) -> Statement {
    Statement { addresses: vec![address(host, 5432)], ..Statement::of(id(number), stated) }
}

const NOW: Duration = Duration::from_secs(1000);

/// Another node of which this one hears by its stream from 10.0.0.9.
fn neighbour() -> Seen {
    Seen::client(Some("10.0.0.9".parse().unwrap()))
}

fn shown(roster: &Roster) -> Vec<(u64, u64, String)> {
    let members = roster.members();
    let shown = |member: &Member| {
        let addresses: Vec<String> =
            member.addresses.iter().map(|address| format!("{}:{}", address.host(), address.port())).collect();
        (member.id.number(), member.stated, addresses.join(","))
    };
    members.iter().map(shown).collect()
}

#[test]
fn the_latest_word_of_a_member_about_itself_counts_whoever_passes_it_on() {
    let roster = Roster::new(id(1));
    let hear = |told: Vec<Statement>| roster.hear(told, &neighbour(), NOW);
    hear(vec![said(2, 10, ""), said(3, 10, "c")]);
    assert_eq!(shown(&roster), [(2, 10, "10.0.0.9:5432".to_owned()), (3, 10, "c:5432".to_owned())]);
    let before = roster.version();
    hear(vec![said(2, 10, ""), said(3, 9, "old"), said(1, 0, "me")]);
    assert_eq!(roster.version(), before, "no news");
    hear(vec![said(2, 11, "b"), said(3, 11, "d")]);
    assert_eq!(shown(&roster), [(2, 11, "b:5432".to_owned()), (3, 11, "d:5432".to_owned())]);
    // Two ways in which others see one statement.
    hear(vec![said(2, 11, "b"), said(3, 11, "e")]);
    assert_eq!(shown(&roster)[1].2, "d:5432,e:5432");
    assert_eq!(roster.version(), before + 2);
    // One that cannot be reached is nobody to ask; one that no longer tells stays as it was.
    let mute = |number| Statement::of(id(number), 50);
    hear(vec![mute(2), mute(4)]);
    assert_eq!(shown(&roster).len(), 2);
}

#[test]
fn addresses_are_those_where_the_teller_is_seen() {
    let remote = neighbour();
    let local = Seen::client(None);
    let server = Seen::server("b.example", 6000);
    for (stated, seen, direct, found) in [
        ("", &remote, true, Some(("10.0.0.9", 5432))),
        ("", &remote, false, None),
        ("", &local, true, Some(("127.0.0.1", 5432))),
        ("", &server, true, Some(("b.example", 6000))),
        ("c.example", &remote, false, Some(("c.example", 5432))),
        ("127.0.0.1", &remote, false, Some(("10.0.0.9", 5432))),
        ("localhost", &server, false, Some(("b.example", 5432))),
        ("::1", &local, false, Some(("::1", 5432))),
        ("/tmp/socket", &remote, true, None),
        ("/tmp/socket", &local, false, Some(("/tmp/socket", 5432))),
    ] {
        let found = found.map(|(host, port)| address(host, port));
        assert_eq!(address(stated, 5432).seen_from(seen, direct), found, "{stated} {seen:?} {direct}");
    }
    for bad in ["a,b", "a\nb", &"x".repeat(300)] {
        assert_eq!(Address::new(bad, 1), None, "{bad}");
    }
    assert_eq!(Address::new("a", 0), None);
}

#[test]
fn hearsay_makes_a_member_younger_and_never_older() {
    let roster = Roster::new(id(1));
    let aged = |age: u64| Statement { age: Duration::from_secs(age), ..said(3, 1, "c") };
    let silent = |now| roster.members().last().unwrap().silent_for(now).as_secs();
    roster.hear(vec![said(2, 1, "b"), aged(100)], &neighbour(), NOW);
    assert_eq!(silent(NOW), 100);
    roster.hear(vec![said(2, 1, "b"), aged(500)], &neighbour(), NOW);
    assert_eq!(silent(NOW), 100);
    roster.hear(vec![said(2, 1, "b"), aged(5)], &neighbour(), NOW);
    assert_eq!(silent(NOW), 5);
    let later = NOW + Duration::from_secs(60);
    assert!(roster.forget(Duration::from_secs(65), NOW + Duration::from_secs(59)).is_empty());
    assert_eq!(roster.forget(Duration::from_secs(65), later)[0].id, id(3));
    roster.heard_of(id(2), later);
    assert!(roster.forget(Duration::from_secs(65), later).is_empty());
}

#[test]
fn only_one_that_tells_of_itself_takes_the_place_of_another() {
    let roster = Roster::new(id(1));
    let others =
        (0..200).map(|number| Statement { age: Duration::from_secs(number), ..said(100 + number, 1, "x") });
    let told = std::iter::once(said(2, 1, "b")).chain(others).collect();
    roster.hear(told, &neighbour(), NOW);
    assert_eq!(roster.members().len(), MEMBERS_MAX);
    let oldest = id(100 + MEMBERS_MAX as u64 - 2);
    assert!(roster.members().iter().any(|member| member.id == oldest));
    assert!(roster.take_displaced().is_empty() && roster.take_left_out());
    roster.hear(vec![said(3, 1, "c")], &neighbour(), NOW);
    let ids: Vec<DirectoryId> = roster.members().iter().map(|member| member.id).collect();
    assert_eq!((ids.len(), ids.contains(&id(3)), ids.contains(&oldest)), (MEMBERS_MAX, true, false));
    let displaced = roster.take_displaced();
    assert_eq!(displaced.iter().map(|displaced| displaced.member.id).collect::<Vec<_>>(), [oldest]);
    assert!(roster.take_displaced().is_empty() && !roster.take_left_out());
}

/// A roster that is full: of 2, which speaks for itself, and of those that it tells of, the higher the number
/// of one the longer it is silent.
fn full() -> Roster {
    let roster = Roster::new(id(1));
    let others = (0..MEMBERS_MAX as u64 - 1).map(|number| Statement {
        age: Duration::from_secs(number),
        name: number.to_string(),
        ..said(100 + number, 1, &format!("host{number}"))
    });
    roster.hear(std::iter::once(said(2, 1, "b")).chain(others).collect(), &neighbour(), NOW);
    assert_eq!(roster.members().len(), MEMBERS_MAX);
    roster
}

fn displaced(roster: &Roster) -> Vec<(u64, String)> {
    roster.take_displaced().into_iter().map(|gone| (gone.member.id.number(), gone.by)).collect()
}

#[test]
fn who_is_no_more_or_has_another_one_in_its_place_goes_before_one_that_may_live() {
    let roster = full();
    let named = |number, name: &str, host: &str| Statement { name: name.to_owned(), ..said(number, 5, host) };
    // A directory that was made anew, where the former one was.
    roster.hear(vec![named(3, "7", "host7")], &neighbour(), NOW);
    assert_eq!(displaced(&roster), [(107, "7".to_owned())]);
    // Another name, another place, or an older word: it may live.
    for stranger in
        [named(4, "x", "host8"), named(5, "8", "other"), Statement { stated: 0, ..named(6, "8", "host8") }]
    {
        roster.hear(vec![stranger], &neighbour(), NOW);
    }
    let gone: Vec<u64> = displaced(&roster).into_iter().map(|(id, _)| id).collect();
    let last = 100 + MEMBERS_MAX as u64 - 2;
    assert_eq!(gone, [last, last - 1, last - 2], "those that were silent longest");
    roster.hear_formers(vec![former::Former { id: id(109), stated: 1, successor: id(2) }]);
    // Of this it takes the place though others tell of it.
    roster.hear(vec![said(2, 1, "b"), named(7, "hearsay", "far")], &neighbour(), NOW);
    assert_eq!(displaced(&roster), [(109, "hearsay".to_owned())]);
    roster.hear(vec![said(2, 1, "b"), named(8, "more", "far")], &neighbour(), NOW);
    assert!(displaced(&roster).is_empty() && roster.take_left_out() && !roster.has(id(8)));
}

#[test]
fn nobody_goes_while_many_that_went_are_untold() {
    let roster = full();
    for number in 1000..1200 {
        roster.hear(vec![said(number, 1, "x")], &neighbour(), NOW);
    }
    assert_eq!(displaced(&roster).len(), MEMBERS_MAX);
    roster.hear(vec![said(2000, 1, "x")], &neighbour(), NOW);
    assert!(roster.has(id(2000)));
}

#[test]
fn time_in_which_the_process_did_not_run_makes_nobody_older() {
    let roster = Roster::new(id(1));
    let aged = |age: u64| Statement { age: Duration::from_secs(age), ..said(3, 1, "c") };
    roster.hear(vec![said(2, 1, "b"), aged(100)], &neighbour(), NOW);
    let ages = |now: Duration| -> Vec<u64> {
        roster.members().iter().map(|member| member.silent_for(now).as_secs()).collect()
    };
    // It ran for 10 s, and then not for 500 s, of which it knows at the end. Then 2 is heard of.
    let later = NOW + Duration::from_secs(510);
    roster.excuse(Duration::from_secs(500), later);
    assert_eq!(ages(later), [10, 110]);
    roster.heard_of(id(2), later);
    roster.excuse(Duration::from_secs(500), later);
    assert_eq!(ages(later + Duration::from_secs(1)), [1, 1], "nobody was heard of in time to come");
}

#[test]
fn what_is_told_is_read_again_and_what_is_damaged_is_refused() {
    let roster = Roster::new(id(1));
    roster.state("one\n", vec![address("", 5432), address("a", 1)], Timestamp::from_micros(77));
    let aged = Statement { age: Duration::from_secs(9), name: "trois".to_owned(), ..said(3, 1, "c") };
    roster.hear(vec![said(2, 1, "b"), aged.clone()], &neighbour(), NOW);
    let payload = roster.told(NOW);
    let own = Statement {
        name: "one ".to_owned(),
        addresses: vec![address("", 5432), address("a", 1)],
        ..Statement::of(id(1), 77)
    };
    assert_eq!(decode(&payload).unwrap(), [own, said(2, 1, "b"), aged]);
    for len in 1..payload.len() {
        assert!(decode(&payload[..len]).is_err(), "{len}");
    }
    assert_eq!(decode(&[2, 9, 9]).unwrap(), [], "a layout of later");
    assert!(decode(&[1, 66]).is_err());
    // No bit makes it panic.
    for bit in 0..payload.len() * 8 {
        let mut bad = payload.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let _ = decode(&bad);
    }
    let long = |number| Statement {
        name: "n".repeat(63),
        addresses: (1..=4).map(|port| address(&"h".repeat(255), port)).collect(),
        ..Statement::of(id(number), 1)
    };
    let largest = encode((0..65).map(long));
    assert!(largest.len() < 50_000 && decode(&largest).unwrap().len() > 40);
}

#[test]
fn a_node_states_anew_what_changed_and_outdoes_what_others_remember_of_it() {
    let roster = Roster::new(id(1));
    let own = |roster: &Roster| decode(&roster.told(NOW)).unwrap()[0].stated;
    let at = Timestamp::from_micros;
    roster.state("a", vec![address("", 1)], at(100));
    roster.state("a", vec![address("", 1)], at(200));
    assert_eq!(own(&roster), 100);
    // A clock that went back.
    roster.state("b", vec![address("", 1)], at(50));
    assert_eq!(own(&roster), 101);
    roster.hear(vec![said(2, 1, "b"), said(1, 500, "x")], &neighbour(), NOW);
    assert_eq!(own(&roster), 501);
    roster.hear(vec![said(2, 1, "b"), said(1, 600, "x")], &neighbour(), NOW);
    assert_eq!(own(&roster), 501, "once a life, else two with one id would go on for ever");
}

#[test]
fn a_node_that_follows_one_of_its_own_id_becomes_another_and_knows_that_one() {
    let roster = Roster::new(id(1));
    roster.state("a", vec![address("", 1)], Timestamp::from_micros(100));
    let itself = decode(&roster.told(NOW)).unwrap();
    assert!(!roster.is_shared_by(&itself), "it follows itself");
    assert!(!roster.is_shared_by(&[said(2, 1, "b")]) && !roster.is_shared_by(&[]));
    // What a third node tells may be of an earlier life.
    assert!(!roster.is_shared_by(&[said(2, 1, "b"), said(1, 50, "a")]));
    let other = vec![said(1, 50, "a"), said(3, 1, "c")];
    assert!(roster.is_shared_by(&other));
    let before = roster.version();
    roster.part(id(5));
    roster.hear(other.clone(), &neighbour(), NOW);
    assert!(roster.version() != before && !roster.is_shared_by(&other));
    let told = decode(&roster.told(NOW)).unwrap();
    assert_eq!((roster.own_id(), told[0].id, told[0].stated), (id(5), id(5), 101));
    assert_eq!(told[0].name, "a");
    assert!(roster.has(id(1)) && roster.has(id(3)), "so it can be asked");
}

#[test]
fn the_file_keeps_ids_and_ages_and_a_damaged_one_tells_nothing() {
    let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
    std::fs::create_dir(dir.path().join("plimsoll")).unwrap();
    let first = load(&host, dir.path(), None).unwrap();
    assert!(!first.damaged && first.roster.members().is_empty());
    let now = host.clock.monotonic();
    first.roster.state("one", vec![address("", 1)], Timestamp::from_micros(5));
    let old = Statement { age: Duration::from_secs(1000), name: "deux trois".to_owned(), ..said(3, 8, "c") };
    first.roster.hear(vec![said(2, 7, "b"), old], &neighbour(), now);
    save(&host, dir.path(), &first.roster).unwrap();
    let again = load(&host, dir.path(), None).unwrap();
    assert!(!again.damaged);
    assert_eq!(again.roster.own_id(), first.roster.own_id());
    assert_eq!(shown(&again.roster), shown(&first.roster));
    let member = again.roster.members()[1].clone();
    assert_eq!(member.name, "deux trois");
    // Only time in which a server runs makes members older.
    assert!((1000..1100).contains(&member.silent_for(host.clock.monotonic()).as_secs()));
    // It says so anew after each start, with a higher number.
    again.roster.state("one", vec![address("", 1)], Timestamp::from_micros(5));
    assert_eq!(decode(&again.roster.told(now)).unwrap()[0].stated, 6);
    // As a standby it is who its directory says, and that one is none of its members.
    assert_eq!(load(&host, dir.path(), Some(id(2))).unwrap().former, Some((first.roster.own_id(), 5)));
    assert_eq!(load(&host, dir.path(), Some(first.roster.own_id())).unwrap().former, None);
    assert_eq!(load(&host, dir.path(), Some(id(2))).unwrap().roster.own_id(), id(2));
    assert_eq!(load(&host, dir.path(), Some(id(2))).unwrap().roster.members().len(), 1);
    let path = dir.path().join(ROSTER_FILE);
    let good = std::fs::read(&path).unwrap();
    for bit in (0..good.len() * 8).step_by(7) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bad).unwrap();
        let found = load(&host, dir.path(), None).unwrap();
        // Letter case of the checksum's own digits.
        assert!(found.damaged != (found.roster.own_id() == first.roster.own_id()), "bit {bit}");
    }
    for other in [vec![b'x'; 1 << 20], vec![0xFF]] {
        std::fs::write(&path, other).unwrap();
        assert!(load(&host, dir.path(), None).unwrap().damaged);
    }
}

#[test]
fn a_host_that_a_connection_string_can_have_is_told_kept_and_shown_whatever_its_characters_are() {
    let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
    std::fs::create_dir(dir.path().join("plimsoll")).unwrap();
    let roster = load(&host, dir.path(), None).unwrap().roster;
    let hosts = ["/run/my app", "/it's/_\\_ here\\", "/tmp/\u{a0}+~@=", "fe80::1%eb0"];
    let said =
        Statement { addresses: hosts.map(|host| address(host, 5432)).to_vec(), ..Statement::of(id(2), 7) };
    let told = decode(&encode(std::iter::once(said.clone()))).unwrap();
    assert_eq!(told, [said]);
    roster.hear(told, &Seen::client(None), host.clock.monotonic());
    save(&host, dir.path(), &roster).unwrap();
    let again = load(&host, dir.path(), None).unwrap();
    assert!(!again.damaged);
    let kept: Vec<Address> = again.roster.members().into_iter().flat_map(|member| member.addresses).collect();
    assert_eq!(kept, hosts.map(|host| address(host, 5432)));
    for (address, host) in kept.iter().zip(hosts) {
        let shown = protocol::conninfo::split(&address.to_string()).unwrap();
        assert_eq!(shown, [("host".to_owned(), host.to_owned()), ("port".to_owned(), "5432".to_owned())]);
    }
}

#[test]
fn a_branch_is_passed_on_and_kept_however_many_timelines_there_were() {
    let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
    std::fs::create_dir(dir.path().join("plimsoll")).unwrap();
    let grown = |from: &TimelineHistory, upto: u32| {
        let first = from.target().get() + 1;
        (first..=upto).fold(from.clone(), |history, number| {
            let (at, reason) = (Lsn::new(u64::from(number) << 24), "no recovery target specified");
            history.fork(TimelineId::new(number), at, reason, BranchId::new(number.into())).unwrap()
        })
    };
    let ours = grown(&TimelineHistory::root(TimelineId::FIRST), 500);
    let roster = Roster::new(id(1));
    let told: Vec<_> = (0..8)
        .map(|fork| {
            let (at, branch) = (Lsn::new((3000 + fork) << 24), BranchId::new(7000 + fork));
            ours.fork(TimelineId::new(501), at, "promoted", branch).unwrap()
        })
        .collect();
    let (gone, passed_on) = told.split_at(4);
    assert!(gone.iter().all(|theirs| roster.hear_of_branch(&ours, theirs)));
    let (timeline, branch) = (ours.target(), None);
    roster.give_up(&ours, Gone::UpTo { timeline, branch, end: Lsn::new(1) });
    assert!(passed_on.iter().all(|theirs| roster.hear_of_branch(&ours, theirs)));
    heard_file::save(&host, dir.path(), &roster).unwrap();
    let again = Roster::new(id(1));
    assert!(!heard_file::load(&host, dir.path(), &again).unwrap());
    assert_eq!(again.heard_branches(&ours), passed_on);
    assert!(gone.iter().all(|theirs| again.is_given_up(&ours, theirs)));
}

#[test]
fn what_was_told_of_timelines_lies_beside_the_roster_which_stays_as_it_was() {
    let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
    std::fs::create_dir(dir.path().join("plimsoll")).unwrap();
    let (roster, path) = (Roster::new(id(1)), dir.path().join(HEARD_FILE));
    assert!(!heard_file::load(&host, dir.path(), &roster).unwrap());
    heard_file::save(&host, dir.path(), &roster).unwrap();
    assert!(!path.exists(), "there is nothing to say");
    let [told, gone] = [(3, "with \\n and\tmore\r\n"), (2, "gone\n")].map(|(number, reason)| {
        TimelineHistory::parse(TimelineId::new(number), &format!("# x\n1\t0/64\t{reason}")).unwrap()
    });
    let ours = TimelineHistory::root(TimelineId::FIRST);
    let (timeline, fork, descendant) = (TimelineId::FIRST, Lsn::new(0x70), TimelineId::new(6));
    assert!(roster.hear_of_branch(&ours, &gone));
    let branch = Some(BranchId::new(9));
    roster.give_up(&ours, Gone::Named { timeline, fork, descendant, branch });
    roster.give_up(&ours, Gone::UpTo { timeline, branch: None, end: Lsn::new(0x50) });
    assert!(roster.hear_of_branch(&ours, &told));
    roster.hear_of_timeline(TimelineId::new(7));
    roster.hear(vec![said(2, 7, "b")], &neighbour(), NOW);
    save(&host, dir.path(), &roster).unwrap();
    heard_file::save(&host, dir.path(), &roster).unwrap();
    let members = std::fs::read_to_string(dir.path().join(ROSTER_FILE)).unwrap();
    let starts: Vec<_> = members.lines().map(|line| line.split(['=', ' ']).next().unwrap()).collect();
    assert_eq!(starts, ["plimsoll", "self", "member", "crc"], "{members}");
    let again = Roster::new(id(1));
    assert!(!heard_file::load(&host, dir.path(), &again).unwrap());
    let shown = |roster: &Roster| {
        let others = [(4, 0x70), (4, 0x71), (9, 0x50)].map(|(number, at)| {
            ours.fork(TimelineId::new(number), Lsn::new(at), "test", BranchId::new(1)).unwrap()
        });
        let all = [&gone, &told].into_iter().chain(&others);
        let given_up: Vec<bool> = all.map(|theirs| roster.is_given_up(&ours, theirs)).collect();
        (roster.newest_heard(), roster.heard_branches(&ours), given_up)
    };
    assert_eq!(shown(&again), (TimelineId::new(7), vec![told.clone()], vec![true, false, true, false, true]));
    let given_up = GivenUp::of(&roster);
    let sent = given_up.encode();
    assert_eq!(GivenUp::decode(sent.as_bytes()), Some(given_up.clone()));
    assert!(!sent.contains("passed-on"), "{sent}");
    assert!(given_up.includes(&ours, &gone) && !given_up.includes(&ours, &told));
    let nothing = GivenUp::default();
    assert_eq!((nothing.encode(), GivenUp::decode(b"")), (String::new(), Some(nothing)));
    assert_eq!(GivenUp::decode(&sent.as_bytes()[..sent.len() / 2]), None);
    let good = std::fs::read(&path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bad).unwrap();
        let found = Roster::new(id(1));
        let damaged = heard_file::load(&host, dir.path(), &found).unwrap();
        // Letter case of the checksum's own digits.
        assert!(damaged != (shown(&found) == shown(&again)), "bit {bit}");
    }
    // It is written anew though there is nothing to say: the next start has no damage to tell.
    let found = Roster::new(id(1));
    std::fs::write(&path, "x").unwrap();
    assert!(heard_file::load(&host, dir.path(), &found).unwrap());
    heard_file::save(&host, dir.path(), &found).unwrap();
    assert!(!heard_file::load(&host, dir.path(), &found).unwrap());
}
