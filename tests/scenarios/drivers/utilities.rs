//! PostgreSQL's programs that maintain a server or measure it.

use crate::toolbox::{encrypted, node_with_tls, role};
use scenarios::pki::Pki;
use scenarios::{pg_tool, run, run_ok};

#[test]
fn pgbench_vacuumdb_reindexdb_and_the_programs_of_roles_work() {
    let pki = Pki::make();
    let node = node_with_tls(&pki);
    node.start();
    node.sql(&role());
    let tool = |name: &str| {
        let mut command = pg_tool(name);
        encrypted(&mut command, node.port(), &pki);
        command
    };
    run_ok(tool("pgbench").args(["-i", "-q", "-I", "dtGvp"]));
    for protocol in ["simple", "extended", "prepared"] {
        for script in ["tpcb-like", "simple-update", "select-only"] {
            let said =
                run_ok(tool("pgbench").args(["-n", "-c", "4", "-t", "10", "-M", protocol, "-b", script]));
            assert!(said.contains("40/40") && said.contains("failed transactions: 0"), "{said}");
        }
    }
    for arguments in [
        &["--all"][..],
        &["--all", "--analyze", "--verbose"],
        &["--analyze-only", "-t", "pgbench_accounts"],
        &["--analyze-in-stages"],
        &["-t", "pgbench_tellers(tid)", "--analyze"],
        &["--full", "-j", "2", "-t", "pgbench_branches"],
        &["--min-xid-age", "1", "--skip-locked", "--no-index-cleanup", "--no-truncate"],
    ] {
        run_ok(tool("vacuumdb").args(arguments));
    }
    for arguments in [
        &["--all"][..],
        &["-t", "pgbench_accounts"],
        &["-i", "pgbench_accounts_pkey"],
        &["--concurrently", "-t", "pgbench_tellers"],
        &["-S", "public"],
        &["-j", "2", "-d", "postgres"],
    ] {
        run_ok(tool("reindexdb").args(arguments));
    }
    run_ok(tool("createuser").args(["--login", "--createrole", "--connection-limit=3", "made"]));
    assert_eq!(
        node.sql("select rolcanlogin, rolcreaterole, rolconnlimit from pg_roles where rolname = 'made'"),
        "t|t|3"
    );
    run_ok(tool("dropuser").args(["made"]));
    assert!(run_ok(&mut tool("pg_isready")).contains("accepting connections"));
    let refused = run(tool("reindexdb").args(["-t", "nosuch"]));
    assert!(
        refused.code == 1 && refused.stderr.contains("relation \"nosuch\" does not exist"),
        "{refused:?}"
    );
}
