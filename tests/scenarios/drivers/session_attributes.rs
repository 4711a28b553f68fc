//! target_session_attrs of libpq, all values, on a primary and its standby.

use crate::toolbox::{encrypted, node_with_tls, role};
use scenarios::pki::Pki;
use scenarios::{Node, pg_tool, run};

#[test]
fn libpq_finds_the_server_that_target_session_attrs_asks_for() {
    let pki = Pki::make();
    let primary = node_with_tls(&pki);
    primary.start();
    primary.sql(&role());
    let standby = Node::builder().clone_from(&primary);
    let (first, second) = (primary.port(), standby.port());
    let ask = |order: [usize; 2], wanted: &str| {
        let ports = order.map(|at| [first, second][at]);
        let conninfo =
            format!("host=127.0.0.1,127.0.0.1 port={},{} target_session_attrs={wanted}", ports[0], ports[1]);
        let mut psql = pg_tool("psql");
        encrypted(&mut psql, first, &pki);
        let asked = run(psql.args(["-XAt", "-c", "show port", &conninfo]));
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
