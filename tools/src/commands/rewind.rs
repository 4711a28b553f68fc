//! `plimsoll rewind`: a node that went another way than the cluster becomes its standby again.

use crate::cli::RewindArgs;
use crate::output::{complain, say};
use anyhow::{Result, bail};
use host::Host;
use indicatif::{ProgressBar, ProgressStyle};
use rewind::{Divergence, Need, NodeFiles, Progress, Rewind, RewindOptions, SourceName, Stage};
use std::path::Path;
use std::time::Instant;

/// A folder with a control file is a source at rest, all else a connection string.
pub fn source_name(text: &str) -> SourceName {
    let folder = Path::new(text);
    if folder.is_dir() { SourceName::Directory(folder.to_path_buf()) } else { SourceName::Server(text.to_owned()) }
}

/// Runs the command.
pub fn run(arguments: &RewindArgs) -> Result<()> {
    let options = RewindOptions {
        source: source_name(&arguments.source),
        target: arguments.data.clone(),
        node_files: NodeFiles::Keep,
        standby: true,
        supply: None,
    };
    super::check_data_directory(&arguments.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(carry_out(arguments, options))
}

async fn carry_out(arguments: &RewindArgs, options: RewindOptions) -> Result<()> {
    let begun = Instant::now();
    let host = Host::real();
    let mut rewind = Rewind::prepare(&host, options).await?;
    let data = arguments.data.display();
    match rewind.need() {
        Need::Nothing => {
            say!("no rewind required: \"{data}\" has nothing that timeline {} has not", rewind.timeline());
            return if arguments.dry_run { Ok(()) } else { Ok(rewind.follow()?) };
        }
        Need::Rest if arguments.dry_run => bail!("a rewind of \"{data}\" was broken off; run it again without --dry-run"),
        Need::Rest => say!("a rewind was broken off when its files were copied: doing the rest"),
        Need::Diverged(divergence) => say_divergence(&rewind, divergence),
    }
    if let Some(plan) = rewind.plan().await? {
        let (copied, all) = (plan.bytes(), plan.source_bytes);
        say!("to copy: {copied} of {all} bytes in {} files", plan.relations.len() + plan.whole.len());
    }
    if arguments.dry_run {
        say!("nothing was changed");
        return Ok(());
    }
    let mut bar = Bar::new(arguments.progress);
    let done = rewind.run(&mut |progress| bar.show(progress)).await;
    bar.finish();
    let done = done?;
    for slot in &done.dropped_slots {
        say!("dropped replication slot \"{slot}\": its position was of the discarded branch");
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (timeline, end, bytes) = (done.timeline, done.end, done.bytes);
    say!("rewound to timeline {timeline}: {bytes} bytes copied in {seconds:.2} s, consistent from {end} on");
    say!("start it with:  plimsoll start -D {data}");
    Ok(())
}

fn say_divergence(rewind: &Rewind, divergence: &Divergence) {
    let (fork, end) = (divergence.fork, divergence.end);
    say!("diverged at {} on timeline {}; the log here goes on to {end}", fork.at, fork.timeline);
    if let Some(start) = rewind.start() {
        say!("rewinding from the common checkpoint at {} (redo {})", start.at, start.contents.redo);
    }
    say!("{} blocks were changed since", divergence.blocks.count());
}

/// A progress bar, if one is wanted.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(wanted: bool) -> Self {
        Self(wanted.then(|| {
            let bar = ProgressBar::no_length();
            let style =
                ProgressStyle::with_template("{msg:24} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        }))
    }

    fn show(&mut self, progress: Progress) {
        let Some(bar) = &self.0 else { return };
        bar.set_message(match progress.stage {
            Stage::Copying => "copying changed blocks",
            Stage::Log => "copying WAL",
            Stage::Finishing => "finishing",
        });
        if progress.stage == Stage::Copying {
            bar.set_length(progress.total_bytes.max(progress.bytes));
            bar.set_position(progress.bytes);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
            complain!("");
        }
    }
}
