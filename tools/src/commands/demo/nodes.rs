//! The demo's servers, run by this program's own commands as a user would.

use crate::pid_file::PidFile;
use crate::process::{self, StopMode};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio_util::task::TaskTracker;

/// How long killed servers take to be gone, at most.
const END_LIMIT: Duration = Duration::from_secs(30);

/// The demo's folder, with the servers in it and the commands that work on them.
#[derive(Debug)]
pub struct DemoFolder {
    path: PathBuf,
    /// A command goes on when nobody waits for it any more: it may be about to start a server.
    commands: TaskTracker,
}

impl DemoFolder {
    /// A new folder below the system's temporary one, for this process alone.
    pub fn create() -> Result<Self> {
        let mut random = [0_u8; 6];
        host::Entropy::fill(&host::SystemEntropy, &mut random);
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // A short path: a Unix socket's is limited to 107 bytes.
        let path = std::env::temp_dir().join(format!("plimsoll-{name}"));
        std::fs::create_dir(&path).with_context(|| format!("could not create {}", path.display()))?;
        Ok(Self { path, commands: TaskTracker::new() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends every server that still runs here, and returns once they are gone.
    pub async fn end_servers(&self) -> Result<()> {
        self.commands.close();
        self.commands.wait().await;
        for entry in std::fs::read_dir(&self.path)? {
            let data = entry?.path();
            // The others are logs.
            if data.is_dir() && PidFile::of_running(&data)?.is_some() {
                process::stop(&data, StopMode::Immediate, Some(END_LIMIT), || ())?;
            }
        }
        Ok(())
    }
}

/// One server of the demo.
#[derive(Debug)]
pub struct DemoNode<'a> {
    name: &'static str,
    folder: &'a DemoFolder,
    port: u16,
}

impl<'a> DemoNode<'a> {
    fn new(folder: &'a DemoFolder, name: &'static str) -> Result<Self> {
        // The kernel names a free port; it is let go just before the server takes it.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        Ok(Self { name, folder, port })
    }

    /// Runs `plimsoll init`.
    pub async fn init(folder: &'a DemoFolder, name: &'static str) -> Result<Self> {
        let node = Self::new(folder, name)?;
        let data = node.data();
        node.plimsoll(|command| {
            command.args(["init", "-U", "postgres", "--no-instructions", "-D"]).arg(data);
        })
        .await?;
        Ok(node)
    }

    /// Runs `plimsoll clone`.
    pub async fn clone_of(folder: &'a DemoFolder, name: &'static str, primary: &Self) -> Result<Self> {
        let node = Self::new(folder, name)?;
        let data = node.data();
        node.plimsoll(|command| {
            command.arg("clone").arg("--from").arg(primary.conninfo()).arg("-D").arg(data);
        })
        .await?;
        Ok(node)
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path.join(self.name)
    }

    /// What connects to it.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }

    /// Runs `plimsoll start -d` with settings.
    pub async fn start(&self, settings: &[(&str, String)]) -> Result<()> {
        let log = self.folder.path.join(format!("{}.log", self.name));
        let cluster_name = format!("cluster_name={}", self.name);
        self.plimsoll(|command| {
            command
                .args(["start", "-d", "-c", &cluster_name, "-p", &self.port.to_string(), "-D"])
                .arg(self.data())
                .arg("-l")
                .arg(log);
            command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
            for (name, value) in settings {
                command.arg("-c").arg(format!("{name}={value}"));
            }
        })
        .await
        .map(drop)
    }

    /// Runs `plimsoll stop`.
    pub async fn stop(&self) -> Result<()> {
        self.plimsoll(|command| {
            command.args(["stop", "-D"]).arg(self.data());
        })
        .await
        .map(drop)
    }

    /// Runs `plimsoll promote`.
    pub async fn promote(&self) -> Result<()> {
        self.plimsoll(|command| {
            command.args(["promote", "-D"]).arg(self.data());
        })
        .await
        .map(drop)
    }

    /// Runs `plimsoll rewind` to another node's branch; gives what it says.
    pub async fn rewind_to(&self, source: &Self) -> Result<String> {
        self.plimsoll(|command| {
            command.args(["rewind", "--source", &source.conninfo(), "-D"]).arg(self.data());
        })
        .await
    }

    /// Runs `plimsoll switchover`: this primary's role goes to its standby.
    pub async fn switch_over_to(&self, standby: &Self) -> Result<()> {
        self.plimsoll(|command| {
            command.args(["switchover", "-d", &self.conninfo(), "--to", standby.name]);
            command.args(["--rejoin", &standby.conninfo()]);
        })
        .await
        .map(drop)
    }

    /// Ends the server with SIGKILL.
    pub async fn kill_9(&self) -> Result<()> {
        let Some(running) = PidFile::of_running(&self.data())? else {
            bail!("the {} does not run", self.name);
        };
        kill(running.pid, Signal::SIGKILL)?;
        Ok(())
    }

    /// Runs a command of this program; gives its output, or what it says of its failure.
    async fn plimsoll(&self, fill: impl FnOnce(&mut Command)) -> Result<String> {
        let mut command = Command::new(std::env::current_exe()?);
        fill(&mut command);
        // A terminal's ^C is for the demo, which then ends what runs in order.
        command.stdin(std::process::Stdio::null()).process_group(0);
        let output = self.folder.commands.spawn(async move { command.output().await }).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{}: {}",
            self.name,
            said.trim_end().trim_start_matches("plimsoll: error: ")
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
