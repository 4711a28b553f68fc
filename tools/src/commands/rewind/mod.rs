//! `plimsoll rewind`: a node that went another way than the cluster becomes its standby again.

mod archive;
mod replay;
mod report;

use crate::bar::Bar;
use crate::cli::RewindArgs;
use crate::output::{complain, say};
use crate::serve;
use anyhow::{Result, anyhow, bail};
use archive::ByCommand;
use host::{Access, RealDisk, shell_word};
use rewind::{
    Counts, Divergence, LogArchive, Need, NodeFiles, Report, Rewind, RewindOptions, Rewound, SourceName,
    Stage,
};
use server::{ServerOptions, keep_discarded, leave_as_is};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Lines of the report that are shown to a person; all are in the file.
const SHOWN: u64 = 200;

/// A folder is a source at rest, a connection string one that runs.
fn source_name(text: &str) -> Result<SourceName> {
    let folder = Path::new(text);
    if folder.is_dir() {
        return Ok(SourceName::Directory(folder.to_path_buf()));
    }
    // Of an empty one the environment says all.
    let is_conninfo = text.trim().is_empty()
        || text.contains('=')
        || ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    if is_conninfo {
        return Ok(SourceName::Server(text.to_owned()));
    }
    let why = match folder.metadata() {
        Ok(_) => "it is a file".to_owned(),
        Err(error) => host::os_message(&error),
    };
    bail!(
        "source \"{text}\" is neither a data directory ({why}) nor a connection string, like \"host=one port=5432\" \
         or \"postgresql://one:5432\""
    )
}

/// Runs the command.
pub fn run(arguments: &RewindArgs) -> Result<()> {
    if let Some(file) = &arguments.replay {
        return replay::replay(file, &mut |line| say!("{line}"));
    }
    let source = arguments.source.as_deref().ok_or_else(|| anyhow!("name a source with --source"))?;
    let data = arguments.data.clone().ok_or_else(|| anyhow!("name a data directory with -D"))?;
    super::check_data_directory(&data)?;
    let supply = if arguments.restore_target_wal { Some(archive_of(&data, None)?) } else { None };
    let options = RewindOptions {
        source: source_name(source)?,
        target: data,
        node_files: NodeFiles::Keep,
        standby: true,
        supply,
        stop: Default::default(),
    };
    runtime()?.block_on(carry_out(arguments, options))
}

/// What rewinds run on.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// The archive of a data directory, by its restore_command.
pub fn archive_of(data: &Path, config_file: Option<&Path>) -> Result<Arc<dyn LogArchive>> {
    let settings = config_file.map(|file| ("config_file".to_owned(), file.display().to_string()));
    let options = ServerOptions { settings: settings.into_iter().collect(), ..ServerOptions::new(data) };
    let command = server::setting_of(&options, "restore_command")?;
    if command.trim().is_empty() {
        bail!("restore_command is not set in the target cluster");
    }
    if server::has_placeholder(&command, 'r') {
        bail!(
            "cannot use restore_command with %r placeholder: by that it may remove files from the archive that \
             the rewind needs; give the target cluster one without it meanwhile"
        );
    }
    let size = serve::control_file(data)?.segment_size;
    Ok(Arc::new(ByCommand { command, data: std::path::absolute(data)?, size }))
}

async fn carry_out(arguments: &RewindArgs, options: RewindOptions) -> Result<()> {
    let begun = Instant::now();
    let (data, source) = (options.target.clone(), options.source.clone());
    let host = Access::of(&RealDisk, &data).host();
    let shown = data.display();
    let mut rewind = Rewind::prepare(&host, options).await?;
    let mut screen = Screen { json: arguments.json, lines: 0 };
    let plan = rewind.plan().await?;
    match rewind.need() {
        Need::Nothing => {
            let timeline = rewind.timeline();
            screen.say(format_args!(
                "no rewind required: \"{shown}\" has nothing that timeline {timeline} has not"
            ));
            if !arguments.dry_run {
                leave_as_is(&host, &data, &mut rewind)?;
                rewind.follow()?;
            }
            screen.say_follows(&source, &data, arguments.dry_run);
            return Ok(());
        }
        Need::Rest if arguments.dry_run => {
            bail!("a rewind of \"{shown}\" was broken off; run it again without --dry-run")
        }
        Need::Rest => {
            screen.say(format_args!("a rewind was broken off when its files were copied: doing the rest"));
        }
        Need::Diverged(divergence) => screen.say_divergence(&rewind, divergence),
    }
    if let Some(plan) = plan {
        let (copied, all, files) = (plan.bytes(), plan.source_bytes, plan.files());
        screen.say(format_args!("to copy: {copied} of {all} bytes, in {files} files"));
    }
    if arguments.dry_run {
        if let Need::Diverged(divergence) = rewind.need() {
            screen.show_discarded(&rewind, divergence)?;
        }
        screen.say(format_args!("nothing was changed"));
        return Ok(());
    }
    let kept = keep_discarded(&host, &data, &mut rewind, &mut |line| screen.show(line)).await?;
    if let Some((file, counts)) = kept {
        screen.sum(counts);
        let file = file.display();
        screen.say(format_args!("kept in {file}; plimsoll rewind --replay FILE makes SQL of it"));
    }
    let done = with_bar(rewind, arguments.progress).await?;
    say_dropped(&done);
    let seconds = begun.elapsed().as_secs_f64();
    let Rewound { timeline, end, bytes, .. } = done;
    screen.say(format_args!(
        "rewound to timeline {timeline}: {bytes} bytes copied in {seconds:.2} s, consistent from {end} on"
    ));
    screen.say(format_args!("start it with:  plimsoll start -D {}", shell_word(&data.to_string_lossy())));
    Ok(())
}

/// What is said to a person, or in lines of JSON to a script.
struct Screen {
    json: bool,
    /// Lines of the report so far.
    lines: u64,
}

impl Screen {
    /// Only to a person.
    fn say(&self, text: std::fmt::Arguments<'_>) {
        if !self.json {
            say!("{text}");
        }
    }

    /// A line of the report. A dry run is over when nobody reads it any more; a real one goes on.
    fn show(&mut self, line: &serde_json::Value) {
        self.lines += 1;
        match self.json {
            true => say!("{line}"),
            false if self.lines <= SHOWN => say!("{}", report::text(line)),
            false => {}
        }
    }

    /// The report, which nothing keeps. What an earlier run that was broken off kept is shown as it is.
    fn show_discarded(&mut self, rewind: &Rewind, divergence: &Divergence) -> Result<()> {
        let kept = Report::of_earlier_run(rewind, divergence, &mut |line| self.show(line))?;
        let counts = match kept {
            Some((_, counts)) => counts,
            None => Report::new(rewind, divergence)?.lines(&mut |line| {
                self.show(line);
                Ok(())
            })?,
        };
        self.sum(counts);
        Ok(())
    }

    fn sum(&self, counts: Counts) {
        if self.lines > SHOWN {
            self.say(format_args!("... and {} commits more: --json shows all", self.lines - SHOWN));
        }
        let Counts { commits, changes } = counts;
        self.say(format_args!("to be discarded: {commits} commits with {changes} changes"));
    }

    /// What became of a directory that had nothing to give up.
    fn say_follows(&self, source: &SourceName, data: &Path, is_dry: bool) {
        if is_dry {
            return self.say(format_args!("nothing was changed"));
        }
        match source {
            SourceName::Server(_) => self.say(format_args!(
                "it is a standby of \"{}\" now (standby.signal, primary_conninfo)",
                source.shown()
            )),
            SourceName::Directory(_) => self.say(format_args!(
                "it is a standby now (standby.signal); its primary_conninfo is left as it was"
            )),
        }
        self.say(format_args!("start it with:  plimsoll start -D {}", shell_word(&data.to_string_lossy())));
    }

    fn say_divergence(&self, rewind: &Rewind, divergence: &Divergence) {
        let (fork, end) = (divergence.fork, divergence.end);
        self.say(format_args!(
            "diverged at {} on timeline {}; the log here goes on to {end}",
            fork.at, fork.timeline
        ));
        if let Some(start) = rewind.start() {
            let (at, redo) = (start.at, start.contents.redo);
            self.say(format_args!("rewinding from the common checkpoint at {at} (redo {redo})"));
        }
        self.say(format_args!("{} blocks were changed since", divergence.blocks.count()));
    }
}

/// Carries a rewind out, with a progress bar if one is wanted.
pub async fn with_bar(rewind: Rewind, wanted: bool) -> Result<Rewound> {
    let bar = Bar::new(wanted);
    let done = rewind
        .run(&mut |progress| {
            let text = match progress.stage {
                Stage::Copying => "copying changed blocks",
                Stage::Log => "copying WAL",
                Stage::Finishing => "finishing",
            };
            bar.show(text, progress.bytes, Some(progress.total_bytes));
        })
        .await;
    bar.finish();
    Ok(done?)
}

/// Slots that went are told.
pub fn say_dropped(done: &Rewound) {
    for slot in &done.dropped_slots {
        complain!(
            "dropped replication slot \"{slot}\": a rewind keeps none, since it discards log that they reserve"
        );
    }
}
