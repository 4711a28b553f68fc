//! target_session_attrs of libpq, all values, on a primary and its standby.

use scenarios::{Node, pg_tool, run};

#[test]
fn libpq_finds_the_server_that_target_session_attrs_asks_for() {
    let primary = Node::builder().start();
    let standby = Node::builder().clone_from(&primary);
    let (first, second) = (primary.port(), standby.port());
    let folders = [&primary, &standby].map(|node| node.folder().display().to_string());
    let ask = |order: [usize; 2], wanted: &str| {
        let (hosts, ports) = (order.map(|at| folders[at].clone()), order.map(|at| [first, second][at]));
        let conninfo = format!(
            "host={},{} port={},{} user=postgres dbname=postgres target_session_attrs={wanted}",
            hosts[0], hosts[1], ports[0], ports[1]
        );
        let asked = run(pg_tool("psql").args(["-XAt", "-c", "show port", &conninfo]));
        asked.stdout.trim().parse::<u16>().map_err(|_| asked.stderr)
    };
    for order in [[0, 1], [1, 0]] {
        for (wanted, found) in [
            ("read-write", first),
            ("primary", first),
            ("read-only", second),
            ("standby", second),
            ("prefer-standby", second),
            ("any", [first, second][order[0]]),
        ] {
            assert_eq!(ask(order, wanted), Ok(found), "{wanted}, {order:?}");
        }
    }
    standby.stop();
    assert_eq!(ask([1, 0], "prefer-standby"), Ok(first));
    for nowhere in ["standby", "read-only"] {
        assert!(ask([0, 1], nowhere).is_err(), "{nowhere}");
    }
    // A primary whose sessions begin read-only is not one to write to.
    primary.alter("SET default_transaction_read_only = on");
    assert!(ask([0, 1], "read-write").is_err());
    assert_eq!(ask([0, 1], "read-only"), Ok(first));
    assert_eq!(ask([0, 1], "primary"), Ok(first));
}
