//! `plimsoll clone`: a running server's copy, which starts as its standby.

use crate::cli::CloneArgs;
use anyhow::{Result, bail};
use basebackup::clone::{CloneOptions, CloneProgress, Phase, check_target, clone, remove_interrupted};
use host::Host;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Instant;

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
    let host = Host::real();
    let existed = check_target(&*host.disk, &arguments.data)?;
    let cloned = runtime.block_on(async {
        let mut report = |step| progress.show(step);
        tokio::select! {
            cloned = clone(&host, &options, &mut report) => Some(cloned),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    progress.finish();
    let Some(cloned) = cloned else {
        // Its tasks end with the runtime, before what they wrote is removed.
        drop(runtime);
        remove_interrupted(&*host.disk, &arguments.data, existed)?;
        bail!("interrupted; \"{}\" is as it was before", arguments.data.display());
    };
    let cloned = cloned?;
    println!(
        "cloned {} files ({} MB) and the WAL from {} to {} on timeline {} in {:.2} s",
        cloned.files,
        cloned.received_bytes >> 20,
        cloned.start,
        cloned.end,
        cloned.timeline,
        begun.elapsed().as_secs_f64()
    );
    println!("start it with:  plimsoll start -D {}", arguments.data.display());
    Ok(())
}

/// A bar on a terminal, a line a phase elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    phase: Option<Phase>,
}

impl Progress {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            let style =
                ProgressStyle::with_template("{msg:24} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, phase: None }
    }

    fn show(&mut self, step: CloneProgress) {
        let changed = self.phase.replace(step.phase) != Some(step.phase);
        let text = match step.phase {
            Phase::Checkpoint => "waiting for a checkpoint",
            Phase::Copying => "copying files",
            Phase::Log => "receiving the last WAL",
            Phase::Verifying => "verifying",
            Phase::Syncing => "making it durable",
        };
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                if let Some(total) = step.total_bytes {
                    bar.set_length(total.max(step.received_bytes));
                }
                bar.set_position(step.received_bytes);
            }
            None if changed => eprintln!("{text}"),
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
