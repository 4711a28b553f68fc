//! Functions that PUBLIC may not execute until somebody grants it (system_functions.sql of PostgreSQL 15).

use crate::model::BOOTSTRAP_ROLE_OID;
use crate::rights::predefined::{MONITOR, READ_ALL_STATS};
use crate::rights::{Acl, AclItem, Privileges};

/// Their names, and who besides superusers has EXECUTE from the beginning. All overloads of a name are alike.
const RESTRICTED: &[(&str, &[u32])] = &[
    ("pg_backup_start", &[]),
    ("pg_backup_stop", &[]),
    ("pg_create_restore_point", &[]),
    ("pg_current_logfile", &[]),
    ("pg_get_backend_memory_contexts", &[READ_ALL_STATS]),
    ("pg_get_shmem_allocations", &[READ_ALL_STATS]),
    ("pg_hba_file_rules", &[]),
    ("pg_ident_file_mappings", &[]),
    ("pg_log_backend_memory_contexts", &[]),
    ("pg_ls_archive_statusdir", &[MONITOR]),
    ("pg_ls_dir", &[]),
    ("pg_ls_logdir", &[MONITOR]),
    ("pg_ls_logicalmapdir", &[MONITOR]),
    ("pg_ls_logicalsnapdir", &[MONITOR]),
    ("pg_ls_replslotdir", &[MONITOR]),
    ("pg_ls_tmpdir", &[MONITOR]),
    ("pg_ls_waldir", &[MONITOR]),
    ("pg_promote", &[]),
    ("pg_read_binary_file", &[]),
    ("pg_read_file", &[]),
    ("pg_reload_conf", &[]),
    ("pg_rotate_logfile", &[]),
    ("pg_show_all_file_settings", &[]),
    ("pg_stat_file", &[]),
    ("pg_stat_reset", &[]),
    ("pg_stat_reset_replication_slot", &[]),
    ("pg_stat_reset_shared", &[]),
    ("pg_stat_reset_single_function_counters", &[]),
    ("pg_stat_reset_single_table_counters", &[]),
    ("pg_stat_reset_slru", &[]),
    ("pg_stat_reset_subscription_stats", &[]),
    ("pg_stat_statements_reset", &[]),
    ("pg_switch_wal", &[]),
    ("pg_wal_replay_pause", &[]),
    ("pg_wal_replay_resume", &[]),
    // Ours, which do to the server what those do.
    ("plimsoll_promotion_report", &[]),
    ("plimsoll_switchover", &[]),
];

fn restriction(name: &str) -> Option<&'static [u32]> {
    RESTRICTED.iter().find(|(known, _)| *known == name).map(|(_, granted)| *granted)
}

/// Who may execute a function of this name where nobody has granted or revoked anything; None if that is
/// everybody.
pub(crate) fn default_acl(name: &str) -> Option<Acl> {
    let granted = restriction(name)?;
    let item = |grantee: &u32| AclItem {
        grantee: *grantee,
        grantor: BOOTSTRAP_ROLE_OID,
        privileges: Privileges::EXECUTE,
        options: Privileges::NONE,
    };
    Some(Acl::new([BOOTSTRAP_ROLE_OID].iter().chain(granted).map(item).collect()))
}
