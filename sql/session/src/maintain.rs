//! VACUUM and ANALYZE.

use super::SqlSession;
use sql_catalogue::codec::{CATALOGUE_TREE, SHARED_TREE};
use sql_catalogue::names::Found;
use sql_catalogue::schema::Schema;
use sql_catalogue::{BOOTSTRAP_ROLE_OID, Relation, system};
use sql_interface::{CommandTag, Result, Severity, SqlError};
use sql_language::parse::{MaintainedTable, Maintenance, Parsed};
use sqlstate::SqlState;
use std::sync::Arc;
use std::time::Duration;
use storage::{CostPace, SweepCause, SweepCosts, SweepReport, TreeId};

/// What VACUUM sweeps at once.
struct Swept {
    schema: Schema,
    name: String,
    owner: u32,
    trees: Vec<TreeId>,
}

impl Swept {
    /// Whether all databases have it together.
    fn is_shared(&self) -> bool {
        self.schema == Schema::PG_CATALOG && system::is_shared(&self.name)
    }

    /// A table with its indexes.
    fn table(relation: &Relation) -> Self {
        let trees = std::iter::once(relation.tree).chain(relation.indexes.iter().map(|index| index.tree));
        let (name, owner) = (relation.name.clone(), relation.owner);
        Self { schema: Schema::PUBLIC, name, owner, trees: trees.collect() }
    }

    /// A table of the catalogue, all of which show what lies in two trees.
    fn of_catalogue(name: &str) -> Self {
        let trees = vec![SHARED_TREE, CATALOGUE_TREE];
        Self { schema: Schema::PG_CATALOG, name: name.to_owned(), owner: BOOTSTRAP_ROLE_OID, trees }
    }
}

/// The columns that ANALYZE names must be there, each once.
fn check_columns(relation: &Relation, columns: &[String]) -> Result<()> {
    for (at, column) in columns.iter().enumerate() {
        relation.require_column(column)?;
        if columns.iter().take(at).any(|before| before == column) {
            let message =
                format!("column \"{column}\" of relation \"{}\" appears more than once", relation.name);
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
        }
    }
    Ok(())
}

impl SqlSession {
    /// VACUUM sweeps the tables (all without a name) for versions that nobody can see any more. ANALYZE has
    /// nothing to gather: it only checks that tables and columns exist.
    pub(super) async fn maintain(
        &mut self,
        parsed: &Parsed,
        maintenance: &Maintenance,
    ) -> Result<CommandTag> {
        let Maintenance { vacuum, analyze, verbose, tables, refusal } = maintenance;
        if let Some(refusal) = refusal {
            return Err(refusal.clone());
        }
        let (vacuum, analyze, verbose) = (*vacuum, *analyze, *verbose);
        let word = if vacuum { "VACUUM" } else { "ANALYZE" };
        if vacuum {
            self.refuse_in_block(word)?;
        }
        if self.engine.database().is_in_recovery() {
            let message = format!("cannot execute {word} during recovery");
            return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let mut found: Vec<Swept> = Vec::new();
        if tables.is_empty() {
            let mut relations: Vec<&Arc<Relation>> = catalogue.relations.values().collect();
            relations.sort_by_key(|relation| relation.oid);
            found.extend(relations.into_iter().map(|relation| Swept::table(relation)));
            found.push(Swept::of_catalogue("pg_class"));
        }
        let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
        let mut skipped = Vec::new();
        for MaintainedTable { name: table, columns } in tables {
            let (schema, name, _) = analyzer.table_name(table)?;
            match analyzer.find(schema.as_deref(), &name)? {
                Some(Found::MadeUp(_)) if system::is_table(&name) => {
                    found.push(Swept::of_catalogue(&name));
                }
                Some(Found::View(_) | Found::Sequence(_) | Found::Index(..) | Found::MadeUp(_)) => {
                    skipped.push(name);
                }
                Some(Found::Table(_)) | None => {
                    let relation = analyzer.find_defined_table(table)?;
                    let swept = Swept::table(&relation);
                    // Of a table that is passed over nobody asks for columns.
                    if analyze && self.keeps(&swept) {
                        check_columns(&relation, columns)?;
                    }
                    found.push(swept);
                }
            }
        }
        for name in skipped {
            let what = word.to_lowercase();
            self.warn_skipping(&name, &format!("cannot {what} non-tables or special system tables"));
        }
        found.retain(|swept| self.may_maintain(swept, vacuum));
        if vacuum {
            // Its own snapshot must not keep what it is to remove.
            if let Some(block) = &mut self.block {
                block.transaction = None;
            }
            for swept in found {
                self.vacuum(&swept, verbose).await?;
            }
        }
        Ok(CommandTag::Words(word))
    }

    fn warn_skipping(&mut self, name: &str, why: &str) {
        let text = format!("skipping \"{name}\" --- {why}");
        self.notices.push(SqlError::report(Severity::Warning, SqlState::WARNING, text));
    }

    /// Whoever owns the database maintains all that is in it, but not what it shares with others.
    fn keeps(&self, swept: &Swept) -> bool {
        self.owns(swept.owner) || !swept.is_shared() && self.owns_database()
    }

    fn may_maintain(&mut self, swept: &Swept, vacuum: bool) -> bool {
        if self.keeps(swept) {
            return true;
        }
        let shared = swept.is_shared();
        let who = match swept.schema {
            _ if shared => "superuser",
            Schema::PG_CATALOG => "superuser or database owner",
            _ => "table or database owner",
        };
        let what = if vacuum { "vacuum" } else { "analyze" };
        self.warn_skipping(&swept.name, &format!("only {who} can {what} it"));
        false
    }

    async fn vacuum(&mut self, swept: &Swept, verbose: bool) -> Result<()> {
        let (schema, name) = (swept.schema.name(), &swept.name);
        if verbose {
            let text = format!("vacuuming \"postgres.{schema}.{name}\"");
            self.notices.push(SqlError::report(Severity::Info, SqlState::SUCCESSFUL_COMPLETION, text));
        }
        let mut total: Option<SweepReport> = None;
        for tree in swept.trees.iter().copied() {
            let canceller = self.canceller.clone();
            let pace = CostPace::new(self.sweep_costs(), move || canceller.reason().is_some());
            let outcome = self.engine.database().vacuum(tree, SweepCause::Asked, Box::new(pace)).await;
            match outcome {
                Ok(report) => total = Some(total.map_or(report, |total| total.with(&report))),
                // Dropped meanwhile.
                Err(storage::Error::NoSuchTree(_)) => {}
                Err(error) => return Err(self.canceller.explain(error)),
            }
        }
        if let (true, Some(report)) = (verbose, total) {
            let text = format!(
                "finished vacuuming \"postgres.{schema}.{name}\":\n\
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
