//! `plimsoll clone`: a running server's copy, which starts as its standby.

use crate::bar::Bar;
use crate::cli::CloneArgs;
use crate::output::{complain, say};
use crate::signals::Signals;
use anyhow::{Result, bail};
use basebackup::clone::{CloneOptions, CloneProgress, Made, Phase, TakenBack, check_target, clone_noting};
use host::{Access, Host, RealDisk};
use protocol::Client;
use protocol::conninfo::ConnInfo;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long an interrupted clone tries to take back its slot.
const SLOT_LIMIT: Duration = Duration::from_secs(5);

/// Runs the command; a broken-off clone leaves nothing behind that a server would start on.
pub fn run(arguments: &CloneArgs) -> Result<()> {
    let options = CloneOptions {
        fast_checkpoint: !arguments.spread_checkpoint,
        slot: arguments.slot.clone(),
        create_slot: arguments.slot.is_some(),
        ..CloneOptions::new(&arguments.from, &arguments.data)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let begun = Instant::now();
    let mut progress = Progress::new();
    check_target(&RealDisk, &arguments.data)?;
    let host = runtime.block_on(access_at(&arguments.from)).host();
    let mut made = Made::default();
    let finishing = AtomicBool::new(false);
    let cloned = runtime.block_on(async {
        let mut report = |step: CloneProgress| {
            finishing.store(step.phase == Phase::Finishing, Ordering::Relaxed);
            progress.show(step);
        };
        let mut cloning = std::pin::pin!(clone_noting(&host, &options, &mut made, &mut report));
        let mut signals = Signals::new()?;
        tokio::select! {
            cloned = &mut cloning => return anyhow::Ok(Some(cloned)),
            () = signals.next() => {}
        }
        if !finishing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // It is whole but for its last moments.
        tokio::select! {
            cloned = &mut cloning => Ok(Some(cloned)),
            () = signals.next() => Ok(None),
        }
    });
    progress.finish();
    let Some(cloned) = cloned? else {
        // Its tasks end with the runtime, before what they wrote is removed.
        drop(runtime);
        return give_up(&host, &options, made, finishing.into_inner());
    };
    let cloned = cloned?;
    say!(
        "cloned {} files ({} MB) and the WAL from {} to {} on timeline {} in {:.2} s",
        cloned.files,
        cloned.received_bytes >> 20,
        cloned.start,
        cloned.end,
        cloned.timeline,
        begun.elapsed().as_secs_f64()
    );
    let data = arguments.data.display();
    for warning in &cloned.warnings {
        complain!("warning: {warning}");
    }
    if cloned.warnings.iter().any(|warning| warning.starts_with("skipping ")) {
        complain!("what was skipped is not in the clone: settings in it are at their defaults there");
    }
    for name in &cloned.left_out {
        say!("{name} was the cloned server's own and is left out: set this one's in {data}/postgresql.conf");
    }
    say!(
        "its settings are the cloned server's: give it a port and a cluster_name of its own in {data}/postgresql.conf"
    );
    say!("start it with:  plimsoll start -D {}", host::shell_word(&arguments.data.to_string_lossy()));
    Ok(())
}

/// Who may read the data directory of a server, by what it says; who does not answer is asked once more by
/// the clone, which tells why.
async fn access_at(conninfo: &str) -> Access {
    let Ok(mut info) = ConnInfo::parse(conninfo) else { return Access::Owner };
    info.replication = Some("true".to_owned());
    let Ok(mut client) = Client::connect(&info).await else { return Access::Owner };
    let shown = client.show("data_directory_mode").await.ok().flatten();
    client.close().await;
    let mode = shown.and_then(|mode| u32::from_str_radix(&mode, 8).ok());
    mode.map_or(Access::Owner, Access::of_mode)
}

/// Takes back what a clone that was interrupted has made. One that was `finishing` and has taken its mark
/// away is whole.
fn give_up(host: &Host, options: &CloneOptions, mut made: Made, finishing: bool) -> Result<()> {
    let target = options.target.display();
    match made.take_back_files(&*host.disk)? {
        TakenBack::Removed => {}
        TakenBack::NothingMarked if !finishing => {}
        TakenBack::NothingMarked | TakenBack::Whole => {
            bail!("interrupted when the clone in \"{target}\" was whole already")
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let dropped = runtime.block_on(async { tokio::time::timeout(SLOT_LIMIT, made.take_back_slot()).await });
    let why = match dropped {
        Ok(Ok(())) => bail!("interrupted; \"{target}\" is as it was before"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    let slot = options.slot.as_deref().unwrap_or_default();
    bail!(
        "interrupted; \"{target}\" is as it was before, but the server may still have slot \"{slot}\" ({why})"
    )
}

/// A bar on a terminal, a line a phase elsewhere.
struct Progress {
    bar: Bar,
    phase: Option<Phase>,
}

impl Progress {
    fn new() -> Self {
        Self { bar: Bar::new(std::io::stderr().is_terminal()), phase: None }
    }

    fn show(&mut self, step: CloneProgress) {
        let changed = self.phase.replace(step.phase) != Some(step.phase);
        let text = match step.phase {
            Phase::Checkpoint => "waiting for a checkpoint",
            Phase::Copying => "copying files",
            Phase::Log => "receiving the last WAL",
            Phase::Verifying => "verifying",
            Phase::Syncing => "making it durable",
            Phase::Finishing => "finishing",
        };
        self.bar.show(text, step.received_bytes, step.total_bytes);
        if changed && !self.bar.is_shown() {
            complain!("{text}");
        }
    }

    fn finish(&self) {
        self.bar.finish();
    }
}
