//! Three nodes on hosts of their own, what can come between the primary and the others, and clocks that jump.

use nix::sys::signal::{Signal, kill};
use scenarios::network::{Fault, Host};
use scenarios::wire::parse_lsn;
use scenarios::{Node, NodeBuilder, Outcome, plimsoll, run, run_ok, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything that ends lasts on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(90);
pub const NODES: usize = 3;
/// Lets a process see another time than its machine's.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// What comes between the primary and both others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Cut,
    /// Nothing of the primary's arrives.
    CutFromPrimary,
    /// Nothing arrives at the primary.
    CutToPrimary,
    /// Five packets of a hundred are lost, both ways.
    Loss,
    Reset,
    /// The primary's process stands still.
    Frozen,
}

impl Trouble {
    pub const ALL: [Self; 6] =
        [Self::Cut, Self::CutFromPrimary, Self::CutToPrimary, Self::Loss, Self::Reset, Self::Frozen];
}

/// A node, the host that it is on, and the file that moves its clock.
pub struct Site {
    pub node: Node,
    pub host: Arc<Host>,
    clock: PathBuf,
}

pub struct Fleet {
    pub sites: Vec<Site>,
    // After the nodes, so that they are ended first.
    _clocks: tempfile::TempDir,
    _router: Host,
}

fn builder(at: usize, host: &Arc<Host>, clock: &Path) -> NodeBuilder {
    [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a plain path")),
        // The file is read again once a second.
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DISABLE_SHM", "1"),
        ("NO_FAKE_STAT", "1"),
    ]
    .into_iter()
    .fold(Node::builder().on_host(host), |builder, (name, value)| builder.environment(name, value))
    .setting("cluster_name", &format!("n{at}"))
    .setting("synchronous_standby_names", "ANY 1 (*)")
}

impl Fleet {
    /// A primary, number 0, with two standbys.
    pub fn new() -> Self {
        assert!(Path::new(FAKETIME).exists(), "{FAKETIME} is missing: run ./test.sh, which installs it");
        let router = Host::router();
        let clocks = scenarios::scratch_dir();
        let mut sites: Vec<Site> = Vec::new();
        for at in 0..NODES {
            let host = Arc::new(Host::linked(&router, u8::try_from(at).expect("few")));
            let clock = clocks.path().join(at.to_string());
            fs::write(&clock, "+0").expect("a file");
            let builder = builder(at, &host, &clock);
            let node = match sites.first() {
                None => builder.start(),
                Some(primary) => builder.clone_over(&primary.conninfo(), &[]),
            };
            if at == 0 {
                node.sql(
                    "SET synchronous_commit = local; CREATE TABLE t (id bigint PRIMARY KEY, level text)",
                );
            }
            sites.push(Site { node, host, clock });
        }
        Self { sites, _clocks: clocks, _router: router }
    }

    pub fn begin(&self, trouble: Trouble, primary: usize) {
        let at = &self.sites[primary];
        for (_, other) in self.sites.iter().enumerate().filter(|(other, _)| *other != primary) {
            let to = |fault| at.host.fault_from(other.host.address(), fault);
            let from = |fault| other.host.fault_from(at.host.address(), fault);
            match trouble {
                Trouble::Cut => (to(Fault::Drop), from(Fault::Drop)),
                Trouble::CutFromPrimary => ((), from(Fault::Drop)),
                Trouble::CutToPrimary => (to(Fault::Drop), ()),
                Trouble::Loss => (to(Fault::Loss), from(Fault::Loss)),
                Trouble::Reset => (to(Fault::Reset), from(Fault::Reset)),
                Trouble::Frozen => ((), ()),
            };
        }
        if trouble == Trouble::Frozen {
            at.signal(Signal::SIGSTOP);
        }
    }

    pub fn heal(&self, trouble: Trouble, primary: usize) {
        for site in &self.sites {
            site.host.heal();
        }
        if trouble == Trouble::Frozen {
            self.sites[primary].signal(Signal::SIGCONT);
        }
    }

    /// Waits until all others stream from this node.
    pub fn converge(&self, primary: usize) {
        let mut wire = self.sites[primary].node.session();
        wait_until("both others stream", LIMIT, || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            let count = wire.value(sql).map_err(|error| format!("{error:?}"))?;
            if count == (NODES - 1).to_string() { Ok(()) } else { Err(format!("{count} of n{primary}")) }
        });
    }
}

impl Site {
    /// How other nodes reach it.
    pub fn conninfo(&self) -> String {
        format!("host={} port={} user=postgres", self.host.address(), self.node.port())
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.node.pid() {
            kill(pid, signal).expect("a signal");
        }
    }

    /// Sets its clock to so many seconds from the machine's.
    pub fn set_clock(&self, seconds: i64) {
        fs::write(&self.clock, format!("{seconds:+}")).expect("a file");
    }

    /// Points a standby to another node, or to none, and waits until it receives from none any more.
    pub fn follow(&self, source: &str) {
        let mut wire = self.node.session();
        wire.alter(&format!("SET primary_conninfo = '{source}'")).expect("a setting");
        if !source.is_empty() {
            return;
        }
        wait_until("it receives no more", LIMIT, || {
            match wire.value("SELECT count(*) FROM pg_stat_wal_receiver") {
                Ok(count) if count == "0" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// The end of the log that it has received.
    pub fn received(&self) -> u64 {
        let text = self.node.sql("SELECT pg_last_wal_receive_lsn()");
        parse_lsn(&text).unwrap_or_else(|| panic!("{text:?} is no position"))
    }

    pub fn promote(&self) {
        run_ok(plimsoll().args(["promote", "-D"]).arg(self.node.data()));
    }

    /// Rewinds it to another node's branch. Lines of JSON.
    pub fn rewind(&self, source: &Self) -> Outcome {
        let mut command = plimsoll();
        command.args(["rewind", "--json", "--source", &source.conninfo(), "-D"]).arg(self.node.data());
        run(&mut self.node.on_its_host(command))
    }
}
