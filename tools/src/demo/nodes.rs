//! The demo's servers, run by this program's own commands as a user would.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// A new folder below the system's temporary one, for this process alone.
pub fn temporary_folder() -> Result<PathBuf> {
    let mut random = [0_u8; 6];
    host::Entropy::fill(&host::SystemEntropy, &mut random);
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // A short path: a Unix socket's is limited to 107 bytes.
    let folder = std::env::temp_dir().join(format!("plimsoll-{name}"));
    std::fs::create_dir(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    Ok(folder)
}

/// One server of the demo; killed if it still runs when the demo ends.
#[derive(Debug)]
pub struct DemoNode {
    name: &'static str,
    folder: PathBuf,
    port: u16,
}

impl DemoNode {
    fn new(folder: &Path, name: &'static str) -> Result<Self> {
        // The kernel names a free port; it is let go just before the server takes it.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        Ok(Self { name, folder: folder.to_path_buf(), port })
    }

    /// Runs `plimsoll init`.
    pub async fn init(folder: &Path, name: &'static str) -> Result<Self> {
        let node = Self::new(folder, name)?;
        let data = node.data();
        node.plimsoll(|command| {
            command.args(["init", "-U", "postgres", "--no-instructions", "-D"]).arg(data);
        })
        .await?;
        Ok(node)
    }

    /// Runs `plimsoll clone`.
    pub async fn clone_of(folder: &Path, name: &'static str, primary: &Self) -> Result<Self> {
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
        self.folder.join(self.name)
    }

    /// What connects to it.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }

    /// Runs `plimsoll start -d` with settings.
    pub async fn start(&self, settings: &[(&str, String)]) -> Result<()> {
        let log = self.folder.join(format!("{}.log", self.name));
        self.plimsoll(|command| {
            command
                .args(["start", "-d", "-p", &self.port.to_string(), "-D"])
                .arg(self.data())
                .arg("-l")
                .arg(log);
            command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
            for (name, value) in settings {
                command.arg("-c").arg(format!("{name}={value}"));
            }
        })
        .await
    }

    /// Runs `plimsoll stop`.
    pub async fn stop(&self) -> Result<()> {
        self.plimsoll(|command| {
            command.args(["stop", "-D"]).arg(self.data());
        })
        .await
    }

    /// Runs `plimsoll promote`.
    pub async fn promote(&self) -> Result<()> {
        self.plimsoll(|command| {
            command.args(["promote", "-D"]).arg(self.data());
        })
        .await
    }

    /// Ends the server with SIGKILL.
    pub async fn kill_9(&self) -> Result<()> {
        let Some(running) = crate::pid_file::PidFile::of_running(&self.data())? else {
            bail!("the {} does not run", self.name);
        };
        kill(running.pid, Signal::SIGKILL)?;
        Ok(())
    }

    /// Runs a command of this program; its output is shown only if it fails.
    async fn plimsoll(&self, fill: impl FnOnce(&mut Command)) -> Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        fill(&mut command);
        let output = command.stdin(std::process::Stdio::null()).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{}: {}",
            self.name,
            said.trim_end().trim_start_matches("plimsoll: error: ")
        );
        Ok(())
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        if let Ok(Some(running)) = crate::pid_file::PidFile::of_running(&self.data()) {
            let _ = kill(running.pid, Signal::SIGKILL);
        }
    }
}
