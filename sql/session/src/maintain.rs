//! VACUUM and ANALYZE.

use super::SqlSession;
use sql_catalogue::Relation;
use sql_catalogue::rights::predefined;
use sql_interface::{CommandTag, Result, Severity, SqlError};
use sql_language::parse::Parsed;
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use std::time::Duration;
use storage::{CostPace, SweepCause, SweepCosts, SweepReport, TreeId};

/// All trees that a table has: its own and its indexes'.
fn trees(relation: &Relation) -> impl Iterator<Item = TreeId> {
    std::iter::once(relation.tree).chain(relation.indexes.iter().map(|index| index.tree))
}

impl SqlSession {
    /// VACUUM sweeps the tables (all without a name) for versions that nobody can see any more. ANALYZE has
    /// nothing to gather: it only checks that the tables exist.
    pub(super) async fn maintain(
        &mut self,
        parsed: &Parsed,
        vacuum: bool,
        verbose: bool,
        tables: &[ast::ObjectName],
    ) -> Result<CommandTag> {
        let word = if vacuum { "VACUUM" } else { "ANALYZE" };
        if vacuum {
            self.refuse_in_block(word)?;
            if self.engine.database().is_in_recovery() {
                return Err(SqlError::new(
                    SqlState::READ_ONLY_SQL_TRANSACTION,
                    "cannot execute VACUUM during recovery",
                ));
            }
        }
        if tables.is_empty() && !vacuum {
            return Ok(CommandTag::Words(word));
        }
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let mut found: Vec<Arc<Relation>> = Vec::new();
        if tables.is_empty() {
            found.extend(catalogue.relations.values().cloned());
            found.sort_by_key(|relation| relation.oid);
        }
        let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
        for table in tables {
            found.push(analyzer.find_defined_table(table)?);
        }
        if vacuum {
            // Its own snapshot must not keep what it is to remove.
            if let Some(block) = &mut self.block {
                block.transaction = None;
            }
            for relation in found {
                self.vacuum(&relation, verbose).await?;
            }
        }
        Ok(CommandTag::Words(word))
    }

    async fn vacuum(&mut self, relation: &Relation, verbose: bool) -> Result<()> {
        let name = &relation.name;
        // Whoever owns the database maintains all that is in it.
        if !self.owns(relation.owner) && !self.owns(predefined::DATABASE_OWNER) {
            let text = format!("skipping \"{name}\" --- only table or database owner can vacuum it");
            self.notices.push(SqlError::report(Severity::Warning, SqlState::WARNING, text));
            return Ok(());
        }
        if verbose {
            let text = format!("vacuuming \"postgres.public.{name}\"");
            self.notices.push(SqlError::report(Severity::Info, SqlState::SUCCESSFUL_COMPLETION, text));
        }
        let mut total: Option<SweepReport> = None;
        for tree in trees(relation) {
            let canceller = self.canceller.clone();
            let pace = CostPace::new(self.sweep_costs(), move || canceller.reason().is_some());
            let swept = self.engine.database().vacuum(tree, SweepCause::Asked, Box::new(pace)).await;
            match swept {
                Ok(report) => total = Some(total.map_or(report, |total| total.with(&report))),
                // Dropped meanwhile.
                Err(storage::Error::NoSuchTree(_)) => {}
                Err(error) => return Err(self.canceller.explain(error)),
            }
        }
        if let (true, Some(report)) = (verbose, total) {
            let text = format!(
                "finished vacuuming \"postgres.public.{name}\":\n\
                 pages: {} cut off the end, {} freed, {} lost ones found, {} remain, {} leaves scanned\n\
                 tuples: {} removed, {} remain, {} are dead but not yet removable",
                report.cut,
                report.freed,
                report.recovered,
                report.pages,
                report.leaves,
                report.removed,
                report.live,
                report.dead
            );
            self.notices.push(SqlError::report(Severity::Info, SqlState::SUCCESSFUL_COMPLETION, text));
        }
        Ok(())
    }

    /// vacuum_cost_delay and its kin, as this session has them.
    fn sweep_costs(&self) -> SweepCosts {
        let number = |name: &str, otherwise: f64| {
            let shown = self.environment.show(self.actor(), name).ok().flatten();
            shown.map_or(otherwise, |text| {
                let (number, unit) =
                    text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len()));
                let number = number.trim().parse().unwrap_or(otherwise);
                if unit == "us" { number / 1000.0 } else { number }
            })
        };
        let cost = |name: &str, otherwise: f64| number(name, otherwise).max(0.0) as u64;
        SweepCosts {
            limit: cost("vacuum_cost_limit", 200.0),
            delay: Duration::from_secs_f64(number("vacuum_cost_delay", 0.0).clamp(0.0, 100.0) / 1000.0),
            hit: cost("vacuum_cost_page_hit", 1.0),
            miss: cost("vacuum_cost_page_miss", 2.0),
            dirty: cost("vacuum_cost_page_dirty", 20.0),
        }
    }
}
