//! Tables that the session's own open portals read: what changes or removes them has to wait for their end.

use super::SqlSession;
use super::portal::{Body, Portal, Run};
use sql_catalogue::Relation;
use sql_interface::{Result, SqlError};
use sql_language::plan::{Plan, Verb};
use sqlparser::ast::AlterTableOperation;
use sqlstate::SqlState;

/// Whether a portal reads a table, or has read it and can still be asked for more. What writes or copies
/// begins only when it runs, and ends with that.
fn reads(portal: &Portal, oid: u32) -> bool {
    let of_plan =
        |plan: &Plan| plan.verb == Verb::Select && plan.tables.iter().any(|used| used.relation.oid == oid);
    match (&portal.run, &portal.prepared().body) {
        (Run::Failed, _) => false,
        _ if portal.goes_by_now() => false,
        (Run::Plan(run), _) => of_plan(&run.plan),
        (_, Body::Plan { plan, .. }) => of_plan(&plan.lock()),
        _ => false,
    }
}

impl SqlSession {
    /// 55006 if an open cursor or portal of this session reads the table. `what`: the statement in words.
    pub(super) fn refuse_in_use(&self, relation: &Relation, what: &str) -> Result<()> {
        let mut open = self.kept.portals.values().filter(|portal| !self.is_over(portal));
        if !open.any(|portal| reads(portal, relation.oid)) {
            return Ok(());
        }
        let message = format!(
            "cannot {what} \"{}\" because it is being used by active queries in this session",
            relation.name
        );
        Err(SqlError::new(SqlState::OBJECT_IN_USE, message))
    }

    /// The same for ALTER TABLE, of which a new name disturbs nobody who reads.
    pub(super) fn refuse_altering_in_use(
        &self,
        relation: &Relation,
        operation: &AlterTableOperation,
    ) -> Result<()> {
        match operation {
            AlterTableOperation::RenameColumn { .. } | AlterTableOperation::RenameTable { .. } => Ok(()),
            _ => self.refuse_in_use(relation, "ALTER TABLE"),
        }
    }
}
