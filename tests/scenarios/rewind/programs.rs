//! pg_rewind: the link to this program, and PostgreSQL's own.

use super::Pair;
use scenarios::{Node, Outcome, plimsoll, run, run_ok, unprivileged};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// This program by the name of pg_rewind.
pub(super) fn link(pair: &Pair, arguments: &[&str]) -> Outcome {
    let path = pair.one.folder().join("pg_rewind");
    if !path.exists() {
        symlink(plimsoll().get_program(), &path).expect("a link");
    }
    run(Command::new(path).arg("--target-pgdata").arg(pair.one.data()).args(arguments))
}

#[test]
fn a_link_named_pg_rewind_takes_its_options_and_says_its_words() {
    let pair = Pair::new(&[]);
    pair.diverge();
    pair.one.kill_9();
    let server = pair.two.conninfo();
    for (arguments, said) in [
        (&[][..], "no source specified (--source-pgdata or --source-server)"),
        (&["--source-server", "x", "--source-pgdata", "y"], "only one of --source-pgdata or --source-server"),
        (&["--source-pgdata", "y", "-R"], "no source server information (--source-server) specified"),
    ] {
        let refused = link(&pair, arguments);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains(&format!("pg_rewind: error: {said}")), "{refused:?}");
    }
    assert!(link(&pair, &["-V"]).stdout.starts_with("pg_rewind (PostgreSQL) 15."));
    let stranger = Node::builder().start();
    let refused = link(&pair, &["--source-server", &stranger.conninfo()]);
    assert!(refused.stderr.contains("source and target clusters are from different systems"), "{refused:?}");
    for options in [&["-n"][..], &["-R", "-P", "-N", "--no-ensure-shutdown"]] {
        let done = link(&pair, &[&["--source-server", &server], options].concat());
        assert_eq!(done.code, 0, "{done:?}");
        for words in [
            "pg_rewind: servers diverged at WAL location 0/",
            "pg_rewind: rewinding from last common checkpoint at 0/",
            " on timeline 1",
            "pg_rewind: Done!",
        ] {
            assert!(done.stderr.contains(words), "{words}: {done:?}");
        }
    }
    let again = link(&pair, &["--source-server", &server, "-R"]);
    assert!(again.stderr.contains("pg_rewind: no rewind required"), "{again:?}");
    pair.one_follows_two();
}

#[test]
fn postgresqls_own_pg_rewind_works_on_directories_at_rest() {
    let pair = Pair::new(&[]);
    pair.diverge();
    pair.one.stop();
    pair.two.stop();
    let owner = |user: &str| {
        for node in [&pair.one, &pair.two] {
            run_ok(Command::new("chown").args(["-R", user]).arg(node.folder()));
        }
    };
    owner("postgres");
    let mut stock = unprivileged("pg_rewind");
    stock.arg("--target-pgdata").arg(pair.one.data()).arg("--source-pgdata").arg(pair.two.data());
    let done = run(&mut stock);
    owner("root");
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("Done!"), "{done:?}");
    pair.one.alter_while_stopped("primary_conninfo", &pair.two.conninfo());
    fs::write(pair.one.data().join("standby.signal"), "").expect("a signal file");
    pair.two.start();
    pair.one_follows_two();
    // What it copied of the other node's own is not this node's.
    assert!(!pair.one.data().join("plimsoll/ledger").exists());
}
