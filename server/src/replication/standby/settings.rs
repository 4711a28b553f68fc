//! What the settings say of a standby: its sources, its receiver, and what holds replay back.

use crate::configuration::Ground;
use replica::driver::receive::ReceiveSettings;
use replica::driver::{DelaySettings, LogPlace};
use replica::receiver::ReceiverOptions;
use replica::receiver::sources::SourceSettings;
use storage::Database;

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
    let name = config.cluster_name.trim();
    Some(ReceiveSettings {
        conninfo: config.primary_conninfo.to_string(),
        application_name: if name.is_empty() { "walreceiver".to_owned() } else { name.to_owned() },
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
    })
}
