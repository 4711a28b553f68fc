//! How many files this process may have open. Each connection is one, each relation and segment in use
//! another.

use crate::log::Log;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a server has open besides its connections, roughly.
const OTHERS: u64 = 1000;

/// Lets the process have as many as the system allows it. What it has by default is for programs that watch
/// descriptors by select(), which this one does not.
pub(crate) fn lift_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // It serves with fewer, too.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Warns of a limit that the settings can reach: who comes then waits until somebody leaves.
pub(crate) fn warn_of_limit(log: &Log, config: &settings::Config) {
    // Those who have not logged in yet have places of their own.
    let connections = config.max_connections.saturating_add(config.max_wal_senders).saturating_mul(2);
    let wanted = connections.saturating_add(OTHERS);
    if let Some(soft) = host::net::descriptors_max()
        && soft < wanted
    {
        log.warning(format!(
            "the system lets this process have {soft} files open, and max_connections may need {wanted}: \
             raise its limit (ulimit -n, LimitNOFILE)"
        ));
    }
}
