//! What the settings say of a standby: its sources, its receiver, and what holds replay back.

use crate::configuration::Ground;
use protocol::{Report, SqlState};
use replica::driver::receive::ReceiveSettings;
use replica::driver::{DelaySettings, LogPlace};
use replica::receiver::ReceiverOptions;
use replica::receiver::sources::SourceSettings;
use storage::Database;

/// The name of a standby to which nothing gives another one.
const UNNAMED: &str = "walreceiver";

/// What the settings say of the sources. `follow`: there is a standby.signal.
pub(super) fn source_settings(ground: &Ground, follow: bool) -> SourceSettings {
    let config = ground.config();
    SourceSettings {
        follow,
        primary: follow && !config.primary_conninfo.trim().is_empty(),
        archive: !config.restore_command.trim().is_empty(),
        retry: config.wal_retrieve_retry_interval,
    }
}

/// What the settings say of what holds replay back.
pub(super) fn delay_settings(ground: &Ground) -> DelaySettings {
    let config = ground.config();
    let session = settings::SessionSettings::new(ground.settings());
    DelaySettings {
        min_apply_delay: config.recovery_min_apply_delay,
        streaming_delay: config.max_standby_streaming_delay.0,
        tell_waits_after: config.log_recovery_conflict_waits.then(|| session.config().deadlock_timeout),
    }
}

/// The name by which a standby follows a primary where primary_conninfo gives none.
fn application_name(config: &settings::Config) -> String {
    let name = &config.cluster_name;
    if name.is_empty() { UNNAMED.to_owned() } else { name.to_string() }
}

/// The name by which this node follows a primary, or would: synchronous_standby_names means it by that.
pub(crate) fn follows_as(config: &settings::Config) -> String {
    follows_by(&config.primary_conninfo, config)
}

/// The same with another primary_conninfo: as the primary shows it.
pub(crate) fn follows_by(conninfo: &str, config: &settings::Config) -> String {
    let named = protocol::conninfo::application_name(conninfo);
    settings::shown_name(&named.unwrap_or_else(|| application_name(config)))
}

/// The same if a setting gives it; nothing where each node without one is called so.
pub(crate) fn follows_as_named(config: &settings::Config) -> String {
    let name = follows_as(config);
    if name == UNNAMED { String::new() } else { name }
}

/// None if no primary is named.
pub(super) fn receive_settings(
    ground: &Ground,
    database: &Database,
    place: &LogPlace,
) -> Option<ReceiveSettings> {
    let config = ground.config();
    if config.primary_conninfo.trim().is_empty() {
        return None;
    }
    Some(ReceiveSettings {
        conninfo: config.primary_conninfo.to_string(),
        application_name: follows_as(&config),
        options: ReceiverOptions {
            system: database.system_id(),
            segment_size: place.segment_size,
            slot: Some(config.primary_slot_name.to_string()).filter(|name| !name.is_empty()),
            follow_latest: config.recovery_target_timeline.as_ref() == "latest",
            status_interval: config.wal_receiver_status_interval,
            timeout: config.wal_receiver_timeout,
            retry_interval: config.wal_retrieve_retry_interval,
            feedback: config.hot_standby_feedback,
        },
        copy_slots: config.sync_replication_slots,
        fsync: config.fsync,
    })
}

/// Warns of settings that are lower here than on the primary, by the last parameters in its log.
///
/// PostgreSQL refuses to start such a standby, and pauses replay when the primary's settings rise, since it
/// sizes what redo needs by max_connections, max_wal_senders, max_worker_processes, max_prepared_transactions
/// and max_locks_per_transaction. Nothing that redo needs is sized by them here, so a standby serves: to
/// refuse would only cost a standby. But what the first two bound after a promotion may be less than clients
/// are used to. So this is said at the start, and again when the standby becomes the primary.
pub(crate) fn tell_lower_settings(ground: &Ground, database: &Database) {
    let (own, primary) = (ground.config(), database.control().parameters);
    let settings = [
        ("max_connections", own.max_connections, primary.max_connections),
        ("max_wal_senders", own.max_wal_senders, primary.max_wal_senders),
    ];
    for (name, own, primary) in settings {
        if u64::try_from(primary).is_ok_and(|primary| own < primary) {
            let what = "this server takes fewer connections than its primary did";
            let detail = format!(
                "{name} = {own} is a lower setting than on the primary server, where its value was {primary}."
            );
            let hint = "You can restart the server after making the necessary configuration changes.";
            let report = Report::warning(SqlState::WARNING, what).with_detail(detail).with_hint(hint);
            ground.log.write(None, &report, None);
        }
    }
}
