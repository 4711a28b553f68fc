//! WalSender commands about slots.

use super::Failure;
use super::replication::{INT8, TEXT, WalSender, columns};
use crate::connection::wire::Wire;
use crate::error::from_replica;
use protocol::backend;
use protocol::replication::CreateSlot;
use replica::ReplicaError;
use replica::slots::Lifetime;
use wal::history::TimelineHistory;

impl WalSender {
    /// CREATE_REPLICATION_SLOT ... PHYSICAL
    pub(super) fn create_slot(&self, wire: &mut Wire, create: &CreateSlot) -> Result<(), Failure> {
        let (replication, database) = (self.node_replication()?, self.database()?);
        let lifetime = if create.temporary { Lifetime::Temporary } else { Lifetime::Permanent };
        let reserve = || database.control().checkpoint_copy.redo;
        let reserve: Option<&dyn Fn() -> wal::Lsn> = if create.reserve_wal { Some(&reserve) } else { None };
        let slot = replication
            .slots
            .create(&create.name, lifetime, reserve, self.handle.key.pid)
            .map_err(|error| from_replica(&error))?;
        columns(
            wire,
            &[
                ("slot_name", TEXT),
                ("consistent_point", TEXT),
                ("snapshot_name", TEXT),
                ("output_plugin", TEXT),
            ],
        );
        // A physical slot has no consistent point.
        backend::text_row(&mut wire.out, &[Some(&slot.name), Some("0/0"), None, None]);
        backend::command_complete(&mut wire.out, "CREATE_REPLICATION_SLOT");
        Ok(())
    }

    /// DROP_REPLICATION_SLOT
    pub(super) async fn drop_slot(&self, wire: &mut Wire, name: &str, wait: bool) -> Result<(), Failure> {
        let replication = self.node_replication()?;
        let slots = &replication.slots;
        let pid = self.handle.key.pid;
        let dropped = if wait { slots.drop_when_free(name, pid).await } else { slots.drop_slot(name, pid) };
        dropped.map_err(|error| from_replica(&error))?;
        replication.update_horizon();
        backend::command_complete(&mut wire.out, "DROP_REPLICATION_SLOT");
        Ok(())
    }

    /// READ_REPLICATION_SLOT: a row of NULLs if there is no such slot.
    pub(super) fn read_slot(&self, wire: &mut Wire, name: &str) -> Result<(), Failure> {
        let database = self.database()?;
        let slot = match self.node_replication()?.slots.find(name) {
            Ok(slot) => Some(slot),
            Err(ReplicaError::NoSlot(_)) => None,
            Err(error) => return Err(from_replica(&error).into()),
        };
        columns(wire, &[("slot_type", TEXT), ("restart_lsn", TEXT), ("restart_tli", INT8)]);
        let kind = slot.as_ref().map(|_| "physical");
        let restart = slot.map(|slot| slot.restart).filter(|restart| restart.is_valid());
        let timeline = restart.map(|restart| {
            let pg_wal = self.node.ground.data_dir.join("pg_wal");
            let history =
                TimelineHistory::load(self.node.ground.host.disk.as_ref(), &pg_wal, database.timeline());
            history.map_or(database.timeline(), |history| history.timeline_at(restart)).to_string()
        });
        let restart = restart.map(|restart| restart.to_string());
        backend::text_row(&mut wire.out, &[kind, restart.as_deref(), timeline.as_deref()]);
        backend::command_complete(&mut wire.out, "READ_REPLICATION_SLOT");
        Ok(())
    }
}
