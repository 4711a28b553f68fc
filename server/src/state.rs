//! The states that a node can be in. Every way from one to another is in the table of `node::states`, and
//! only `node` goes it.

/// How far a node's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// Opening the database, recovering from a crash.
    Starting,
    /// A standby whose data are not consistent yet.
    Recovering,
    /// A standby that serves reads.
    HotStandby,
    /// A primary.
    Running,
    /// Stopping; no more sessions.
    Stopping(StopMode),
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// Let the sessions end by themselves (SIGTERM).
    Smart,
    /// End the sessions, write a shutdown checkpoint (SIGINT).
    Fast,
    /// End at once, as after a crash (SIGQUIT).
    Immediate,
}

impl StopMode {
    /// The word of `pg_ctl stop -m` and of the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}
