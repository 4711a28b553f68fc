//! The settings of a node: layers of sources over the defaults, and what a reload changes.

use crate::config::SessionConfig;
use crate::definition::{Context, Definition, Kind, Meaning, flag};
use crate::error::{Locked, Refusal, SettingError};
use crate::file::{FileContents, FileEntry, Place};
use crate::table::{definitions, is_custom_name, nearest_name, position};
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Where a value comes from; a later one outweighs an earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The built-in default.
    Default,
    /// The process environment.
    Environment,
    /// postgresql.conf and postgresql.auto.conf.
    File,
    /// `-c` and its kin.
    CommandLine,
    /// ALTER DATABASE ... SET.
    Database,
    /// ALTER ROLE ... SET.
    Role,
    /// The client's startup message.
    Client,
    /// Computed by the server, which outweighs all files.
    Override,
    /// SET in a session.
    Session,
}

impl Source {
    /// The word in pg_settings.source.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Environment => "environment variable",
            Self::File => "configuration file",
            Self::CommandLine => "command line",
            Self::Database => "database",
            Self::Role => "user",
            Self::Client => "client",
            Self::Override => "override",
            Self::Session => "session",
        }
    }
}

/// Checks a text setting and returns its canonical form.
pub type Check = fn(&str) -> Result<String, Refusal>;

#[derive(Clone, Debug, PartialEq)]
struct Layer {
    source: Source,
    value: Value,
    place: Option<Place>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Ascending by source, at most one each.
    layers: Vec<Layer>,
    pending_restart: bool,
}

impl Slot {
    fn put(&mut self, layer: Layer) {
        self.layers.retain(|old| old.source != layer.source);
        let at = self.layers.partition_point(|old| old.source < layer.source);
        self.layers.insert(at, layer);
    }
}

/// Whether the files are read for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The server is not running yet: everything can be set.
    Start,
    /// It runs: what only a restart changes stays as it is.
    Reload,
}

/// What applying the files did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Settings with a new value.
    pub changed: Vec<String>,
    /// Settings whose new value waits for a restart.
    pub pending_restart: Vec<String>,
    /// What is wrong, ready for the log. At start any of these is fatal.
    pub problems: Vec<Problem>,
    /// Whether nothing at all was applied, since a file could not be read or names an unknown setting.
    pub nothing_applied: bool,
}

/// One refused entry.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Message with detail and hint.
    pub message: String,
    /// Where it stands.
    pub place: Place,
    /// The entry's name, if it came so far.
    pub name: Option<String>,
}

/// One row of pg_settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Fixed facts; for a customized setting a made-up definition.
    pub name: String,
    /// The value without unit.
    pub setting: String,
    /// See [`crate::Unit::name`].
    pub unit: Option<&'static str>,
    /// The group.
    pub category: &'static str,
    /// One sentence; says so if the setting has no effect here.
    pub short_desc: &'static str,
    /// Who changes it when.
    pub context: &'static str,
    /// bool, integer, real, string or enum.
    pub vartype: &'static str,
    /// See [`Source::name`].
    pub source: &'static str,
    /// Bounds of numbers.
    pub min_val: Option<String>,
    /// Bounds of numbers.
    pub max_val: Option<String>,
    /// Words of an enum.
    pub enumvals: Option<&'static [&'static str]>,
    /// The default.
    pub boot_val: Option<String>,
    /// What RESET gives.
    pub reset_val: String,
    /// The file that set it; superusers only.
    pub sourcefile: Option<String>,
    /// The line in it.
    pub sourceline: Option<u32>,
    /// Whether the file holds another value that waits for a restart.
    pub pending_restart: bool,
    /// Bits of [`flag`].
    pub flags: u16,
}

/// All settings of a node. Cloning copies; the server shares one behind an `Arc` and swaps it on reload.
#[derive(Clone, Debug)]
pub struct Settings {
    slots: Vec<Slot>,
    custom: BTreeMap<String, Slot>,
    checks: BTreeMap<usize, Check>,
    /// What sessions begin with: derived when first asked after a change, since each login asks.
    pub(crate) session_config: OnceLock<Arc<SessionConfig>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// The definition that stands for all customized settings. Lists have none: whoever chose the name may have
/// chosen it for a secret.
static CUSTOM: Definition =
    crate::definition::text("", Context::User, crate::definition::cat::CUSTOMIZED, "")
        .flags(flag::NO_SHOW_ALL);

impl Settings {
    /// All defaults.
    pub fn new() -> Self {
        let mut all = Self {
            slots: vec![Slot::default(); definitions().len()],
            custom: BTreeMap::new(),
            checks: BTreeMap::new(),
            session_config: OnceLock::new(),
        };
        for (name, check) in crate::check::BUILT_IN {
            all.set_check(name, *check);
        }
        all
    }

    /// Adds or replaces the check of a setting, which gets numbers in the setting's unit. Values that are set
    /// already are not checked again.
    pub fn set_check(&mut self, name: &str, check: Check) {
        if let Some(at) = position(name) {
            self.checks.insert(at, check);
        }
    }

    /// Reads and checks a value without setting it.
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, or does not take the value.
    pub fn parse(&self, name: &str, text: &str) -> Result<Value, SettingError> {
        let Some(at) = position(name) else {
            return check_custom_name(name).map(|()| Value::Text(text.into()));
        };
        let Some(definition) = definitions().get(at) else { return Err(unknown(name)) };
        let value = Value::parse(definition, text)?;
        let Some(check) = self.checks.get(&at) else { return Ok(value) };
        let checked = match &value {
            Value::Text(given) => check(given).map(|canonical| Value::Text(canonical.into())),
            Value::Bool(_) | Value::Integer(_) => check(&value.plain(definition)).map(|_| value),
            _ => return Ok(value),
        };
        checked.map_err(|refusal| match refusal {
            Refusal::Wrong { detail, hint } => SettingError::InvalidValue {
                name: definition.name.to_owned(),
                value: text.to_owned(),
                detail: Some(detail).filter(|detail| !detail.is_empty()),
                hint,
            },
            Refusal::Absent(what) => SettingError::Absent { what },
        })
    }

    /// Sets a value before the server runs (command line, environment). Computed settings are refused.
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, does not take the value, or not from this source.
    pub fn set(&mut self, name: &str, text: &str, source: Source) -> Result<(), SettingError> {
        if let Some(known) = crate::find(name)
            && known.context == Context::Internal
        {
            return Err(SettingError::CannotChange { name: known.name.to_owned(), why: Locked::Always });
        }
        // Whom a session acts as cannot be looked up before there is one.
        let no_role = name.eq_ignore_ascii_case("session_authorization")
            || name.eq_ignore_ascii_case("role") && text != "none";
        if no_role && source == Source::CommandLine {
            let (name, value) = (name.to_ascii_lowercase(), text.to_owned());
            return Err(SettingError::InvalidValue { name, value, detail: None, hint: None });
        }
        self.compute(name, text, source)
    }

    /// Sets a value that the server has found out (data_checksums, wal_segment_size, shared_memory_size,
    /// ...).
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, or does not take the value.
    pub fn set_computed(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        self.compute(name, text, Source::Override)
    }

    fn compute(&mut self, name: &str, text: &str, source: Source) -> Result<(), SettingError> {
        let value = self.parse(name, text)?;
        self.slot_mut(name).put(Layer { source, value, place: None });
        Ok(())
    }

    fn slot_mut(&mut self, name: &str) -> &mut Slot {
        self.session_config.take();
        match position(name) {
            Some(at) if at < self.slots.len() => &mut self.slots[at],
            _ => self.custom.entry(name.to_ascii_lowercase()).or_default(),
        }
    }

    fn slot(&self, name: &str) -> Option<(&'static Definition, &Slot)> {
        match position(name) {
            Some(at) => Some((definitions().get(at)?, self.slots.get(at)?)),
            None => self.custom.get(&name.to_ascii_lowercase()).map(|slot| (&CUSTOM, slot)),
        }
    }

    /// Applies what the files say. At `Reload`, what only a restart changes is left and marked.
    pub fn apply_files(&mut self, files: &FileContents, phase: Phase) -> Applied {
        let mut applied = Applied::default();
        for error in &files.errors {
            let (message, place) = (error.message.clone(), error.place.clone());
            applied.problems.push(Problem { message, place, name: None });
        }
        for entry in &files.entries {
            if let Err(error) = check_in_file(&entry.name) {
                applied.problems.push(problem(entry, &error));
            }
        }
        if !applied.problems.is_empty() {
            applied.nothing_applied = true;
            return applied;
        }
        let mut wanted: BTreeMap<String, &FileEntry> = BTreeMap::new();
        for entry in &files.entries {
            let name = crate::find(&entry.name).map_or(entry.name.as_str(), |known| known.name);
            wanted.insert(name.to_ascii_lowercase(), entry);
        }
        self.drop_absent(&wanted, phase, &mut applied);
        for entry in wanted.into_values() {
            self.apply_entry(entry, phase, &mut applied);
        }
        applied
    }

    /// Settings that an earlier reading of the files set and this one does not go back.
    fn drop_absent(&mut self, wanted: &BTreeMap<String, &FileEntry>, phase: Phase, applied: &mut Applied) {
        let known = definitions().iter().map(|known| known.name.to_ascii_lowercase());
        let names: Vec<String> = known.chain(self.custom.keys().cloned()).collect();
        for name in names.into_iter().filter(|name| !wanted.contains_key(name)) {
            let restart_only = crate::find(&name).is_some_and(|known| known.context == Context::Postmaster);
            let before = self.value(&name);
            let slot = self.slot_mut(&name);
            let Some(at) = slot.layers.iter().position(|layer| layer.source == Source::File) else {
                slot.pending_restart = false;
                continue;
            };
            if restart_only && phase == Phase::Reload {
                if slot.layers.len() == at + 1 {
                    slot.pending_restart = true;
                    applied.pending_restart.push(display_name(&name));
                }
                continue;
            }
            slot.layers.remove(at);
            if self.value(&name) != before {
                applied.changed.push(display_name(&name));
            }
        }
        self.custom.retain(|_, slot| !slot.layers.is_empty());
    }

    fn apply_entry(&mut self, entry: &FileEntry, phase: Phase, applied: &mut Applied) {
        let value = match self.parse(&entry.name, &entry.value) {
            Ok(value) => value,
            Err(error) => return applied.problems.push(problem(entry, &error)),
        };
        let restart_only = crate::find(&entry.name).is_some_and(|known| known.context == Context::Postmaster);
        let before = self.value(&entry.name);
        let slot = self.slot_mut(&entry.name);
        let layer = Layer { source: Source::File, value, place: Some(entry.place.clone()) };
        if restart_only && phase == Phase::Start {
            // What the server had found out because nothing was said.
            slot.layers.retain(|other| other.source != Source::Override);
        }
        if restart_only && phase == Phase::Reload {
            let outweighs = |top: &Layer| top.source > Source::File && top.source != Source::Override;
            let outweighed = slot.layers.last().is_some_and(outweighs);
            slot.pending_restart = !outweighed && before.as_ref() != Some(&layer.value);
            if slot.pending_restart {
                let why = Locked::UntilRestart;
                let error = SettingError::CannotChange { name: display_name(&entry.name), why };
                applied.problems.push(problem(entry, &error));
                applied.pending_restart.push(display_name(&entry.name));
                return;
            }
        }
        slot.put(layer);
        if self.value(&entry.name) != before {
            applied.changed.push(display_name(&entry.name));
        }
    }

    /// The value in force, None for an unknown name.
    pub fn value(&self, name: &str) -> Option<Value> {
        let (definition, slot) = self.slot(name)?;
        Some(slot.layers.last().map_or_else(|| Value::boot(definition), |layer| layer.value.clone()))
    }

    /// The value in force as SHOW prints it.
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown.
    pub fn show(&self, name: &str) -> Result<String, SettingError> {
        let (definition, _) = self.slot(name).ok_or_else(|| unknown(name))?;
        let value = self.value(name).ok_or_else(|| unknown(name))?;
        if definition.name == "archive_command" && self.value("archive_mode") == Some(Value::Choice("off")) {
            return Ok("(disabled)".to_owned());
        }
        Ok(value.show(definition))
    }

    /// The value in force as scripts calculate with it: a number alone, in its setting's unit.
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown.
    pub fn plain(&self, name: &str) -> Result<String, SettingError> {
        let (definition, _) = self.slot(name).ok_or_else(|| unknown(name))?;
        Ok(self.value(name).ok_or_else(|| unknown(name))?.plain(definition))
    }

    /// The settings that have no effect here and another value than their default.
    pub fn set_without_effect(&self) -> Vec<&'static str> {
        let set = definitions().iter().zip(&self.slots).filter(|(definition, slot)| {
            let value = slot.layers.last().map(|layer| &layer.value);
            value.is_some_and(|value| *value != Value::boot(definition))
                && definition.meaning() == Meaning::Accepted
        });
        set.map(|(definition, _)| definition.name).collect()
    }

    /// Where the value in force comes from.
    pub fn source(&self, name: &str) -> Option<(Source, Option<&Place>)> {
        let (_, slot) = self.slot(name)?;
        let top = slot.layers.last();
        Some(top.map_or((Source::Default, None), |layer| (layer.source, layer.place.as_ref())))
    }

    /// The rows of pg_settings, sorted by name; a session lays its own values over them.
    pub fn rows(&self) -> Vec<Row> {
        let known = definitions()
            .iter()
            .zip(&self.slots)
            .map(|(definition, slot)| row(definition.name.to_owned(), definition, slot));
        let custom = self.custom.iter().map(|(name, slot)| row(name.clone(), &CUSTOM, slot));
        let mut rows: Vec<Row> = known.chain(custom).collect();
        rows.sort_by(|a, b| crate::table::compare_names(&a.name, &b.name));
        rows
    }
}

fn row(name: String, definition: &'static Definition, slot: &Slot) -> Row {
    let top = slot.layers.last();
    let boot = Value::boot(definition);
    let value = top.map_or(&boot, |layer| &layer.value);
    let (min_val, max_val) = match definition.kind {
        Kind::Integer { min, max, .. } => (Some(min.to_string()), Some(max.to_string())),
        Kind::Real { min, max, .. } => {
            (Some(Value::Real(min).plain(definition)), Some(Value::Real(max).plain(definition)))
        }
        _ => (None, None),
    };
    let place = top.and_then(|layer| layer.place.as_ref());
    Row {
        name,
        setting: value.plain(definition),
        reset_val: value.decimal(definition),
        unit: definition.kind.unit().name(),
        category: definition.category,
        short_desc: if definition.name.is_empty() { "" } else { definition.description() },
        context: definition.context.name(),
        vartype: definition.kind.name(),
        source: top.map_or(Source::Default, |layer| layer.source).name(),
        min_val,
        max_val,
        enumvals: match definition.kind {
            Kind::Choice { words, .. } => Some(words),
            _ => None,
        },
        boot_val: Some(boot.decimal(definition)).filter(|_| !definition.name.is_empty()),
        sourcefile: place.map(|place| place.file.display().to_string()),
        sourceline: place.map(|place| place.line),
        pending_restart: slot.pending_restart,
        flags: definition.flags,
    }
}

fn display_name(name: &str) -> String {
    crate::find(name).map_or_else(|| name.to_owned(), |known| known.name.to_owned())
}

fn problem(entry: &FileEntry, error: &SettingError) -> Problem {
    let Place { file, line } = &entry.place;
    let message = match error {
        // That is no fault of the line.
        SettingError::CannotChange { .. } => error.one_line(),
        _ => format!("{} in file \"{}\" line {line}", error.one_line(), file.display()),
    };
    Problem { message, place: entry.place.clone(), name: Some(entry.name.clone()) }
}

pub(crate) fn unknown(name: &str) -> SettingError {
    SettingError::Unknown { name: name.to_owned(), nearest: nearest_name(name) }
}

/// A name that is not in the table must be a customized one outside our own prefix, and outside of what looks
/// like it: a fence or a limit that is set under a mistyped name would be missed at the worst moment.
pub(crate) fn check_custom_name(name: &str) -> Result<(), SettingError> {
    let own = |prefix: &str| {
        prefix.len() <= 10 && strsim::osa_distance(&prefix.to_ascii_lowercase(), "plimsoll") <= 2
    };
    if name.split_once('.').is_none_or(|(prefix, _)| own(prefix)) {
        Err(unknown(name))
    } else if is_custom_name(name) {
        Ok(())
    } else {
        Err(SettingError::InvalidName { name: name.to_owned() })
    }
}

fn check_in_file(name: &str) -> Result<(), SettingError> {
    match crate::find(name) {
        Some(known) if known.context == Context::Internal || known.has(flag::NOT_IN_FILE) => {
            Err(SettingError::CannotChange { name: known.name.to_owned(), why: Locked::Always })
        }
        Some(_) => Ok(()),
        None => check_custom_name(name),
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
