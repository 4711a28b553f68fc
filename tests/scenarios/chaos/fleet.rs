//! A primary and three standbys, each on a host of its own, and what can happen to them.

use crate::audit::SEGMENT;
use crate::writers::CLIENTS;
use scenarios::network::{Fault, Host};
use scenarios::wire::Wire;
use scenarios::{Node, NodeBuilder, Quorum, wait_until};
use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anything that ends lasts on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);
pub const STANDBYS: usize = 3;
const SHARED_BUFFERS_MB: u64 = 16;
/// RssAnon that no node may pass.
pub const MEMORY_BYTES: u64 = (SHARED_BUFFERS_MB + 200) << 20;

/// What happens to the network or to a node, until it is healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    DropToStandby(usize),
    DropFromStandby(usize),
    /// Five packets of a hundred, to and from each standby.
    LossEverywhere,
    Reset(usize),
    FreezeStandby(usize),
    FreezePrimary,
    /// A client streams and never reads. It may go on saying that it is there.
    NeverReads {
        replies: bool,
    },
    KillStandby(usize),
    KillPrimary,
    /// A fast stop.
    StopStandby(usize),
}

impl Trouble {
    /// One of each kind, for standby `at` where it is one standby's.
    pub fn each(at: usize) -> Vec<Self> {
        vec![
            Self::DropToStandby(at),
            Self::DropFromStandby(at),
            Self::LossEverywhere,
            Self::Reset(at),
            Self::FreezeStandby(at),
            Self::FreezePrimary,
            Self::NeverReads { replies: false },
            Self::NeverReads { replies: true },
            Self::KillStandby(at),
            Self::KillPrimary,
            Self::StopStandby(at),
        ]
    }

    /// The standby that can receive nothing, or say nothing, while it lasts.
    pub fn victim(self) -> Option<usize> {
        match self {
            Self::DropToStandby(at)
            | Self::DropFromStandby(at)
            | Self::Reset(at)
            | Self::FreezeStandby(at)
            | Self::KillStandby(at)
            | Self::StopStandby(at) => Some(at),
            _ => None,
        }
    }

    /// Whether a standby cannot be asked while it lasts.
    pub fn silences(self, standby: usize) -> bool {
        matches!(self, Self::FreezeStandby(at) | Self::KillStandby(at) | Self::StopStandby(at) if at == standby)
    }

    pub fn takes_the_primary(self) -> bool {
        matches!(self, Self::FreezePrimary | Self::KillPrimary)
    }
}

pub struct Fleet {
    pub primary: Node,
    pub standbys: Vec<Node>,
    mute: Option<Mute>,
    // After the nodes, so that they are ended first.
    pub hub: Arc<Host>,
    pub hosts: Vec<Arc<Host>>,
    mute_host: Host,
}

/// Timeouts that let a fault be noticed within a round, and room for what a standby that is away lacks.
fn settings(builder: NodeBuilder) -> NodeBuilder {
    let shared_buffers = format!("{SHARED_BUFFERS_MB}MB");
    [
        ("shared_buffers", shared_buffers.as_str()),
        ("wal_sender_timeout", "2s"),
        ("wal_receiver_timeout", "2s"),
        ("wal_receiver_status_interval", "1s"),
        ("wal_retrieve_retry_interval", "100ms"),
        ("max_wal_size", "64MB"),
        ("checkpoint_timeout", "30s"),
        ("wal_keep_size", "384MB"),
        ("plimsoll.heartbeat_interval", "200ms"),
        // What no standby has confirmed is shown to nobody, however long that takes.
        ("plimsoll.unconfirmed_timeout", "-1"),
    ]
    .into_iter()
    .fold(builder, |builder, (name, value)| builder.setting(name, value))
}

impl Fleet {
    pub fn new() -> Self {
        let hub = Arc::new(Host::hub());
        let hosts: Vec<Arc<Host>> =
            (0..STANDBYS).map(|at| Arc::new(Host::linked(&hub, u8::try_from(at).expect("few")))).collect();
        let mute_host = Host::linked(&hub, 100);
        let segment = format!("--wal-segsize={}", SEGMENT >> 20);
        let primary = settings(Node::builder().on_host(&hub)).init_option(&segment).start();
        primary.sql(
            "CREATE TABLE log (client int, sequence bigint, filler text, PRIMARY KEY (client, sequence))",
        );
        primary.sql("CREATE TABLE counters (client int PRIMARY KEY, n bigint NOT NULL)");
        primary.sql(&format!(
            "INSERT INTO counters SELECT g, 0 FROM generate_series(0, {}) g",
            CLIENTS.len() - 1
        ));
        primary.sql("CREATE TABLE bulk (id bigint PRIMARY KEY, filler text)");
        let standbys = hosts
            .iter()
            .enumerate()
            .map(|(at, host)| {
                let from = format!("host={} port={} user=postgres", host.hub_address(), primary.port());
                let name = format!("s{at}");
                let builder = settings(Node::builder().on_host(host)).setting("cluster_name", &name);
                builder.clone_over(&from, &["--slot", &name])
            })
            .collect();
        Self { primary, standbys, mute: None, hub, hosts, mute_host }
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::once(&self.primary).chain(&self.standbys)
    }

    /// A session on the primary; waits until it takes one.
    pub fn session(&self) -> Wire<UnixStream> {
        wait_until("the primary takes a session", LIMIT, || {
            Wire::unix(&self.primary.socket()).map_err(|error| format!("{error:?}"))
        })
    }

    pub fn begin(&mut self, trouble: Trouble, burst: usize) {
        match trouble {
            Trouble::DropToStandby(at) => self.hosts[at].fault_from_hub(Fault::Drop),
            Trouble::DropFromStandby(at) => self.hub.fault_from_host(&self.hosts[at], Fault::Drop),
            Trouble::LossEverywhere => {
                for host in &self.hosts {
                    host.fault_from_hub(Fault::Loss);
                    self.hub.fault_from_host(host, Fault::Loss);
                }
            }
            Trouble::Reset(at) => {
                self.hosts[at].fault_from_hub(Fault::Reset);
                self.hub.fault_from_host(&self.hosts[at], Fault::Reset);
            }
            Trouble::FreezeStandby(at) => self.standbys[at].freeze(),
            Trouble::FreezePrimary => self.primary.freeze(),
            Trouble::NeverReads { replies } => {
                self.mute = Some(Mute::connect(&self.mute_host, &self.primary, replies));
                self.burst(burst);
            }
            Trouble::KillStandby(at) => self.standbys[at].kill_9(),
            Trouble::KillPrimary => self.primary.kill_9(),
            Trouble::StopStandby(at) => self.standbys[at].stop(),
        }
    }

    /// Ends what began. The network is healed for all at once.
    pub fn heal(&mut self, troubles: &[Trouble]) {
        for host in self.hosts.iter().chain([&self.hub]) {
            host.heal();
        }
        for trouble in troubles {
            match *trouble {
                Trouble::FreezeStandby(at) => self.standbys[at].thaw(),
                Trouble::FreezePrimary => self.primary.thaw(),
                Trouble::KillStandby(at) | Trouble::StopStandby(at) => self.standbys[at].start(),
                Trouble::KillPrimary => self.primary.start(),
                _ => {}
            }
        }
        if self.mute.take().is_some() {
            let mut session = self.session();
            wait_until("the sender of who never read has ended", LIMIT, || {
                let sql = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'mute'";
                match session.query(sql).map(|answer| answer.rows[0][0].clone()) {
                    Ok(count) if count == "0" => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
    }

    /// Megabytes of log that no standby is waited for.
    fn burst(&self, megabytes: usize) {
        let mut session = self.session();
        let mut rng = fastrand::Rng::with_seed(7);
        let filler: String = (0..1 << 18).map(|_| char::from(b'a' + rng.u8(..26))).collect();
        let mut run = |sql: &str| {
            session.query(sql).unwrap_or_else(|error| panic!("a burst: {error:?}"));
        };
        run("SET synchronous_commit = local");
        for id in 0..megabytes * 4 {
            run(&format!("INSERT INTO bulk VALUES ({id}, '{filler}')"));
        }
        run("TRUNCATE bulk");
    }

    /// Sets the quorum, and returns once sessions see it.
    pub fn set_quorum(&self, quorum: &Quorum) {
        let mut session = self.session();
        let wanted = quorum.setting();
        let mut value = |sql: &str| {
            let answer = session.query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            answer.rows.first().map(|row| row[0].clone()).unwrap_or_default()
        };
        value(&format!("ALTER SYSTEM SET synchronous_standby_names = '{wanted}'"));
        value("SELECT pg_reload_conf()");
        wait_until("the quorum is in force", LIMIT, || match value("SHOW synchronous_standby_names") {
            names if names == wanted => Ok(()),
            names => Err(names),
        });
    }
}

/// A client that asked for the log and never reads what comes.
struct Mute {
    wire: Arc<Wire<TcpStream>>,
    stop: Arc<AtomicBool>,
    replies: Option<JoinHandle<()>>,
}

impl Mute {
    fn connect(host: &Host, primary: &Node, replies: bool) -> Self {
        let at = primary.sql("SELECT pg_current_wal_flush_lsn()");
        let stream = host.connect_to_hub(primary.port());
        let parameters = [("user", "postgres"), ("replication", "true"), ("application_name", "mute")];
        let mut wire = Wire::open(stream, &parameters).expect("a sender");
        wire.begin(&format!("START_REPLICATION PHYSICAL {at} TIMELINE 1")).expect("sent");
        let stop = Arc::new(AtomicBool::new(false));
        let mut speaking = wire.stream().try_clone().expect("a second handle");
        let thread = replies.then(|| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                use std::io::Write as _;
                // CopyData with a status update: write, flush and apply never move.
                let mut message = vec![b'd', 0, 0, 0, 4 + 34, b'r'];
                message.extend([0; 33]);
                while !stop.load(Ordering::SeqCst) && speaking.write_all(&message).is_ok() {
                    std::thread::park_timeout(Duration::from_millis(200));
                }
            })
        });
        Self { wire: Arc::new(wire), stop, replies: thread }
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(wire) = Arc::get_mut(&mut self.wire) {
            let _ = wire.stream().shutdown(std::net::Shutdown::Both);
        }
        if let Some(thread) = self.replies.take() {
            let _ = thread.join();
        }
    }
}

/// The most anonymous memory that each node was seen to hold, in bytes.
#[derive(Debug, Default)]
pub struct Memory {
    pub peaks: [AtomicU64; 1 + STANDBYS],
    pub samples: AtomicU64,
}

impl Memory {
    /// Looks until it is told to stop.
    pub fn watch(&self, fleet: &[std::path::PathBuf], stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            for (data, peak) in fleet.iter().zip(&self.peaks) {
                if let Some(bytes) = rss_anon_bytes(data) {
                    peak.fetch_max(bytes, Ordering::SeqCst);
                    self.samples.fetch_add(1, Ordering::SeqCst);
                }
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub fn check(&self) {
        for (at, peak) in self.peaks.iter().enumerate() {
            let peak = peak.load(Ordering::SeqCst);
            assert!(peak < MEMORY_BYTES, "node {at} held {} MB of anonymous memory", peak >> 20);
        }
    }
}

/// RssAnon of the node in this folder, if it runs.
fn rss_anon_bytes(data: &std::path::Path) -> Option<u64> {
    let pid = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid.lines().next()?.trim())).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
