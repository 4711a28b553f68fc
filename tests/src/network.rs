//! A network of the test's own: a namespace for each node, linked to one in the middle, with faults by
//! nftables.

use crate::tools::{run, run_ok};
use std::fs::{self, File};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

const PREFIX: &str = "plimsoll-";
static MADE: AtomicUsize = AtomicUsize::new(0);

/// What a link does to the packets of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every packet that comes in is lost.
    Drop,
    /// Five of a hundred are lost.
    Loss,
    /// TCP is answered with a reset.
    Reset,
}

/// A network namespace, removed on drop. Its hosts are linked to a hub's.
#[derive(Debug)]
pub struct Host {
    name: String,
    /// The address at which the hub reaches it, and the hub's at which it reaches the hub; none for a hub.
    link: Option<(String, String)>,
}

fn ip(arguments: &[&str]) {
    run_ok(Command::new("ip").args(arguments));
}

/// Says why network namespaces cannot be made here, if they cannot.
pub fn namespaces_refused() -> Option<String> {
    for program in ["ip", "nft"] {
        if Command::new(program).arg("-V").output().is_err() {
            return Some(format!("{program} is missing: run ./test.sh, which installs it"));
        }
    }
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("{PREFIX}{}-probe-{number}", std::process::id());
    let made = run(Command::new("ip").args(["netns", "add", &name]));
    let removed = run(Command::new("ip").args(["netns", "del", &name]));
    (made.code != 0 || removed.code != 0).then(|| format!("ip netns: {}{}", made.stderr, removed.stderr))
}

/// Removes what test processes that are gone have left.
fn sweep() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            // Another test process may sweep at the same time.
            let _ = run(Command::new("ip").args(["netns", "del", &name]));
        }
    }
}

impl Host {
    /// A namespace without links.
    pub fn hub() -> Self {
        sweep();
        Self::named(None)
    }

    /// A namespace that hands on what its hosts send each other.
    pub fn router() -> Self {
        let host = Self::hub();
        let forward = ["netns", "exec", &host.name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
        ip(&forward);
        host
    }

    fn named(link: Option<(String, String)>) -> Self {
        let name = format!("{PREFIX}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let host = Self { name, link };
        host.ip(&["link", "set", "lo", "up"]);
        host.nft("add table inet chaos");
        host.nft("add chain inet chaos in { type filter hook input priority 0; }");
        host
    }

    /// A namespace with a link of its own to the hub, the `number`th (from 0).
    pub fn linked(hub: &Self, number: u8) -> Self {
        let (own, theirs) = (format!("10.20.{number}.2"), format!("10.20.{number}.1"));
        let host = Self::named(Some((own.clone(), theirs.clone())));
        let end = format!("to{number}");
        hub.ip(&["link", "add", &end, "type", "veth", "peer", "name", "hub", "netns", &host.name]);
        hub.ip(&["addr", "add", &format!("{theirs}/30"), "dev", &end]);
        hub.ip(&["link", "set", &end, "up"]);
        host.ip(&["addr", "add", &format!("{own}/30"), "dev", "hub"]);
        host.ip(&["link", "set", "hub", "up"]);
        // To the other hosts, if the hub hands on what they send.
        host.ip(&["route", "add", "default", "via", &theirs]);
        host
    }

    /// The address at which others reach it.
    pub fn address(&self) -> &str {
        &self.link.as_ref().expect("a linked host").0
    }

    /// The hub's address as seen from here.
    pub fn hub_address(&self) -> &str {
        &self.link.as_ref().expect("a linked host").1
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program that runs in this namespace.
    pub fn command(&self, program: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.get_program()).args(program.get_args());
        command
    }

    fn ip(&self, arguments: &[&str]) {
        run_ok(Command::new("ip").args(["-n", &self.name]).args(arguments));
    }

    fn nft(&self, rule: &str) {
        run_ok(Command::new("ip").args(["netns", "exec", &self.name, "nft", rule]));
    }

    /// Lets what comes in from an address meet a fault.
    pub fn fault_from(&self, source: &str, fault: Fault) {
        let verdict = match fault {
            Fault::Drop => "drop",
            Fault::Loss => "numgen random mod 100 < 5 drop",
            Fault::Reset => "meta l4proto tcp reject with tcp reset",
        };
        self.nft(&format!("add rule inet chaos in ip saddr {source} {verdict}"));
    }

    /// Lets what comes to this host from the hub meet a fault.
    pub fn fault_from_hub(&self, fault: Fault) {
        self.fault_from(self.hub_address(), fault);
    }

    /// Lets what comes to the hub from a host meet a fault.
    pub fn fault_from_host(&self, host: &Self, fault: Fault) {
        self.fault_from(host.address(), fault);
    }

    /// Ends all faults of what comes in here.
    pub fn heal(&self) {
        self.nft("flush chain inet chaos in");
    }

    /// A TCP connection from this host to the hub.
    pub fn connect_to_hub(&self, port: u16) -> TcpStream {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        let address = (self.hub_address().to_owned(), port);
        // A namespace is a thread's: this one ends with the connection made.
        let thread = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("the namespace opens");
            TcpStream::connect(address).expect("the hub answers")
        });
        thread.join().expect("connected")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let outcome = run(Command::new("ip").args(["netns", "del", &self.name]));
        if outcome.code != 0 {
            eprintln!("namespace {} stays: {}", self.name, outcome.stderr);
        }
    }
}
