//! What is fixed about a setting: its name, kind, bounds, default and who may change it when.

use std::fmt;

/// When and by whom a setting can be changed (GucContext), in pg_settings' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// Computed; nobody sets it.
    Internal,
    /// Only at server start.
    Postmaster,
    /// In the file or on the command line, at any reload.
    Sighup,
    /// As `Backend`, by superusers only.
    SuperuserBackend,
    /// For a session when it starts.
    Backend,
    /// At any time, by superusers.
    Superuser,
    /// At any time, by anybody, for the own session.
    User,
}

impl Context {
    /// The word in pg_settings.context.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Postmaster => "postmaster",
            Self::Sighup => "sighup",
            Self::SuperuserBackend => "superuser-backend",
            Self::Backend => "backend",
            Self::Superuser => "superuser",
            Self::User => "user",
        }
    }
}

/// The unit that a number without one counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    None,
    /// Bytes.
    B,
    /// 1024 bytes.
    Kb,
    /// Pages of 8 KiB.
    Blocks,
    /// 1024 kB.
    Mb,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Minutes.
    Min,
}

impl Unit {
    /// The text in pg_settings.unit, None for a plain number.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::B => Some("B"),
            Self::Kb => Some("kB"),
            Self::Blocks => Some("8kB"),
            Self::Mb => Some("MB"),
            Self::Ms => Some("ms"),
            Self::S => Some("s"),
            Self::Min => Some("min"),
        }
    }
    /// Bytes in one, for units of memory.
    pub const fn bytes(self) -> Option<u64> {
        match self {
            Self::B => Some(1),
            Self::Kb => Some(1 << 10),
            Self::Blocks => Some(8 << 10),
            Self::Mb => Some(1 << 20),
            _ => None,
        }
    }
    /// Microseconds in one, for units of time.
    pub const fn micros(self) -> Option<u64> {
        match self {
            Self::Ms => Some(1_000),
            Self::S => Some(1_000_000),
            Self::Min => Some(60_000_000),
            _ => None,
        }
    }
}

/// The type of a setting's value, with bounds (both inclusive) and default in base units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// on or off.
    Bool {
        /// The default.
        boot: bool,
    },
    /// A whole number.
    Integer {
        /// The default.
        boot: i64,
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
        /// What it counts.
        unit: Unit,
    },
    /// A floating-point number.
    Real {
        /// The default.
        boot: f64,
        /// Smallest value allowed.
        min: f64,
        /// Largest value allowed.
        max: f64,
        /// What it counts.
        unit: Unit,
    },
    /// Any text (a check may narrow it).
    Text {
        /// The default.
        boot: &'static str,
    },
    /// One of a few words.
    Choice {
        /// The default.
        boot: &'static str,
        /// The words that pg_settings lists; some have further spellings.
        words: &'static [&'static str],
    },
}

impl Kind {
    /// The word in pg_settings.vartype.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bool { .. } => "bool",
            Self::Integer { .. } => "integer",
            Self::Real { .. } => "real",
            Self::Text { .. } => "string",
            Self::Choice { .. } => "enum",
        }
    }
    /// The unit, `Unit::None` for what is no number.
    pub const fn unit(&self) -> Unit {
        match self {
            Self::Integer { unit, .. } | Self::Real { unit, .. } => *unit,
            _ => Unit::None,
        }
    }
}

/// What the engine does with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It has the effect that its description says.
    Used,
    /// PostgreSQL has it; here it is checked, stored and shown, and has no effect.
    Accepted,
}

/// Properties of settings, one bit each.
pub mod flag {
    /// Of interest to EXPLAIN.
    pub const EXPLAIN: u16 = 1;
    /// Left out of SHOW ALL and pg_settings.
    pub const NO_SHOW_ALL: u16 = 1 << 1;
    /// Left alone by RESET ALL.
    pub const NO_RESET_ALL: u16 = 1 << 2;
    /// Not in the sample postgresql.conf.
    pub const NOT_IN_SAMPLE: u16 = 1 << 3;
    /// Known only once the server runs.
    pub const RUNTIME_COMPUTED: u16 = 1 << 4;
    /// Changes are told to the client (ParameterStatus).
    pub const REPORT: u16 = 1 << 5;
    /// A comma-separated list whose elements are quoted like identifiers.
    pub const LIST_QUOTED: u16 = 1 << 6;
    /// A comma-separated list.
    pub const LIST: u16 = 1 << 7;
    /// ALTER SYSTEM refuses it.
    pub const NOT_IN_AUTO_FILE: u16 = 1 << 8;
    /// postgresql.conf must not hold it.
    pub const NOT_IN_FILE: u16 = 1 << 9;
    /// Shown to superusers and members of pg_read_all_settings only.
    pub const SUPERUSER_ONLY: u16 = 1 << 10;
    /// Printed as an octal number.
    pub const OCTAL: u16 = 1 << 11;
}

/// One known setting.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The name in PostgreSQL's spelling; compared without regard to ASCII case.
    pub name: &'static str,
    /// Who may change it when.
    pub context: Context,
    /// pg_settings.category.
    pub category: &'static str,
    /// Type, bounds, default.
    pub kind: Kind,
    /// Bits of [`flag`].
    pub flags: u16,
}

impl Definition {
    /// Whether this flag is set.
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
    pub(crate) const fn flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }
    /// Whether the setting has an effect here.
    pub fn meaning(&self) -> Meaning {
        if crate::used::is_used(self.name) { Meaning::Used } else { Meaning::Accepted }
    }
    /// pg_settings.short_desc, in our words.
    pub fn description(&self) -> &'static str {
        crate::used::description(self.name).unwrap_or("Accepted for compatibility; has no effect here.")
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn define(name: &'static str, context: Context, category: &'static str, kind: Kind) -> Definition {
    Definition { name, context, category, kind, flags: 0 }
}

pub(crate) const fn boolean(
    name: &'static str,
    context: Context,
    category: &'static str,
    boot: bool,
) -> Definition {
    define(name, context, category, Kind::Bool { boot })
}

pub(crate) const fn integer(
    name: &'static str,
    context: Context,
    category: &'static str,
    boot: i64,
    min: i64,
    max: i64,
    unit: Unit,
) -> Definition {
    define(name, context, category, Kind::Integer { boot, min, max, unit })
}

pub(crate) const fn real(
    name: &'static str,
    context: Context,
    category: &'static str,
    boot: f64,
    min: f64,
    max: f64,
    unit: Unit,
) -> Definition {
    define(name, context, category, Kind::Real { boot, min, max, unit })
}

pub(crate) const fn text(
    name: &'static str,
    context: Context,
    category: &'static str,
    boot: &'static str,
) -> Definition {
    define(name, context, category, Kind::Text { boot })
}

pub(crate) const fn choice(
    name: &'static str,
    context: Context,
    category: &'static str,
    boot: &'static str,
    words: &'static [&'static str],
) -> Definition {
    define(name, context, category, Kind::Choice { boot, words })
}

/// The categories of pg_settings.
pub(crate) mod cat {
    pub(crate) const AUTOVACUUM: &str = "Autovacuum";
    pub(crate) const CLIENT_CONNECTION_DEFAULTS__LOCALE_AND_FORMATTING: &str =
        "Client Connection Defaults / Locale and Formatting";
    pub(crate) const CLIENT_CONNECTION_DEFAULTS__OTHER_DEFAULTS: &str =
        "Client Connection Defaults / Other Defaults";
    pub(crate) const CLIENT_CONNECTION_DEFAULTS__SHARED_LIBRARY_PRELOADING: &str =
        "Client Connection Defaults / Shared Library Preloading";
    pub(crate) const CLIENT_CONNECTION_DEFAULTS__STATEMENT_BEHAVIOR: &str =
        "Client Connection Defaults / Statement Behavior";
    pub(crate) const CONNECTIONS_AND_AUTHENTICATION__AUTHENTICATION: &str =
        "Connections and Authentication / Authentication";
    pub(crate) const CONNECTIONS_AND_AUTHENTICATION__CONNECTION_SETTINGS: &str =
        "Connections and Authentication / Connection Settings";
    pub(crate) const CONNECTIONS_AND_AUTHENTICATION__SSL: &str = "Connections and Authentication / SSL";
    pub(crate) const DEVELOPER_OPTIONS: &str = "Developer Options";
    pub(crate) const ERROR_HANDLING: &str = "Error Handling";
    pub(crate) const FILE_LOCATIONS: &str = "File Locations";
    pub(crate) const LOCK_MANAGEMENT: &str = "Lock Management";
    pub(crate) const PRESET_OPTIONS: &str = "Preset Options";
    pub(crate) const QUERY_TUNING__GENETIC_QUERY_OPTIMIZER: &str = "Query Tuning / Genetic Query Optimizer";
    pub(crate) const QUERY_TUNING__OTHER_PLANNER_OPTIONS: &str = "Query Tuning / Other Planner Options";
    pub(crate) const QUERY_TUNING__PLANNER_COST_CONSTANTS: &str = "Query Tuning / Planner Cost Constants";
    pub(crate) const QUERY_TUNING__PLANNER_METHOD_CONFIGURATION: &str =
        "Query Tuning / Planner Method Configuration";
    pub(crate) const REPLICATION__PRIMARY_SERVER: &str = "Replication / Primary Server";
    pub(crate) const REPLICATION__SENDING_SERVERS: &str = "Replication / Sending Servers";
    pub(crate) const REPLICATION__STANDBY_SERVERS: &str = "Replication / Standby Servers";
    pub(crate) const REPLICATION__SUBSCRIBERS: &str = "Replication / Subscribers";
    pub(crate) const REPORTING_AND_LOGGING__PROCESS_TITLE: &str = "Reporting and Logging / Process Title";
    pub(crate) const REPORTING_AND_LOGGING__WHAT_TO_LOG: &str = "Reporting and Logging / What to Log";
    pub(crate) const REPORTING_AND_LOGGING__WHEN_TO_LOG: &str = "Reporting and Logging / When to Log";
    pub(crate) const REPORTING_AND_LOGGING__WHERE_TO_LOG: &str = "Reporting and Logging / Where to Log";
    pub(crate) const RESOURCE_USAGE__ASYNCHRONOUS_BEHAVIOR: &str = "Resource Usage / Asynchronous Behavior";
    pub(crate) const RESOURCE_USAGE__BACKGROUND_WRITER: &str = "Resource Usage / Background Writer";
    pub(crate) const RESOURCE_USAGE__COST_BASED_VACUUM_DELAY: &str =
        "Resource Usage / Cost-Based Vacuum Delay";
    pub(crate) const RESOURCE_USAGE__DISK: &str = "Resource Usage / Disk";
    pub(crate) const RESOURCE_USAGE__KERNEL_RESOURCES: &str = "Resource Usage / Kernel Resources";
    pub(crate) const RESOURCE_USAGE__MEMORY: &str = "Resource Usage / Memory";
    pub(crate) const STATISTICS__CUMULATIVE_QUERY_AND_INDEX_STATISTICS: &str =
        "Statistics / Cumulative Query and Index Statistics";
    pub(crate) const STATISTICS__MONITORING: &str = "Statistics / Monitoring";
    pub(crate) const VERSION_AND_PLATFORM_COMPATIBILITY__OTHER_PLATFORMS_AND_CLIENTS: &str =
        "Version and Platform Compatibility / Other Platforms and Clients";
    pub(crate) const VERSION_AND_PLATFORM_COMPATIBILITY__PREVIOUS_POSTGRESQL_VERSIONS: &str =
        "Version and Platform Compatibility / Previous PostgreSQL Versions";
    pub(crate) const WRITE_AHEAD_LOG__ARCHIVE_RECOVERY: &str = "Write-Ahead Log / Archive Recovery";
    pub(crate) const WRITE_AHEAD_LOG__ARCHIVING: &str = "Write-Ahead Log / Archiving";
    pub(crate) const WRITE_AHEAD_LOG__CHECKPOINTS: &str = "Write-Ahead Log / Checkpoints";
    pub(crate) const WRITE_AHEAD_LOG__RECOVERY: &str = "Write-Ahead Log / Recovery";
    pub(crate) const WRITE_AHEAD_LOG__RECOVERY_TARGET: &str = "Write-Ahead Log / Recovery Target";
    pub(crate) const WRITE_AHEAD_LOG__SETTINGS: &str = "Write-Ahead Log / Settings";
    pub(crate) const PLIMSOLL: &str = "Plimsoll";
    pub(crate) const CUSTOMIZED: &str = "Customized Options";
}
