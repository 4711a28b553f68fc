//! RENAME of what literals in texts of the catalogue name: `nextval('s')`, `'t'::regclass`.

use super::SqlSession;
use sql_catalogue::{Check, View, store};
use sql_interface::Result;
use sql_language::parse::Parsed;
use sql_language::plan::Renamed;
use std::sync::Arc;

impl SqlSession {
    /// Lets the texts of the catalogue name by its new name what is about to get one.
    pub(super) async fn follow_rename(
        &mut self,
        parsed: &Parsed,
        old: &str,
        renamed: Renamed<'_>,
    ) -> Result<()> {
        let old = old.to_ascii_lowercase();
        let mentions = |text: &str| old.contains('"') || text.to_ascii_lowercase().contains(&old);
        let catalogue = self.catalogue().await?;
        // A text that cannot be analysed any more stays as it is.
        for relation in catalogue.relations.values() {
            for (at, column) in relation.live_columns() {
                let Some(text) = column.default.as_deref().filter(|text| mentions(text)) else { continue };
                let changed = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
                    analyzer.renamed_in_default((relation, at), text, renamed)
                });
                if let Ok(Some(default)) = changed {
                    let column = sql_catalogue::Column { default: Some(default), ..column.clone() };
                    store::put_column(self.transaction()?, relation.oid, &column).await?;
                }
            }
            for check in relation.checks.iter().filter(|check| mentions(&check.expression)) {
                let changed = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
                    analyzer.renamed_in_check(relation, check, renamed)
                });
                if let Ok(Some(expression)) = changed {
                    let check = Check { expression, ..check.clone() };
                    store::put_check(self.transaction()?, relation.oid, &check).await?;
                }
            }
        }
        let views: Vec<Arc<View>> = catalogue.views.values().cloned().collect();
        for view in views.iter().filter(|view| mentions(&view.query)) {
            let changed = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
                analyzer.renamed_in_view(&view.query, renamed)
            });
            if let Ok(Some(query)) = changed {
                let changed = View { query, ..View::clone(view) };
                store::put_view(self.transaction()?, &changed).await?;
            }
        }
        Ok(())
    }
}
