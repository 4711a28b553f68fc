//! From a parsed statement to what it needs and gives: its plan, its parameters, its columns.

use super::SqlSession;
use super::block::in_failed_block;
use super::explain::filling;
use super::portal::{Body, Prepared, changed_result, same_result};
use super::utility::{show_columns, text_column};
use host::sync::Mutex;
use sql_catalogue::Catalogue;
use sql_interface::{Result, ResultColumn, stack};
use sql_language::parse::{Parsed, SqlCommand, Utility};
use sql_language::plan::{Analyzer, Plan};
use sql_types::Type;
use std::sync::Arc;

/// Analysing a token takes about as long as touching so many bytes.
const ANALYSIS_WORK: usize = 128;

impl SqlSession {
    /// Analyses a parsed statement; its parameters have these types, and are at most so many.
    pub(super) async fn analyse(
        &mut self,
        parsed: Arc<Parsed>,
        declared: Vec<Option<Type>>,
        parameters_max: usize,
    ) -> Result<Prepared> {
        let failed = self.block.as_ref().is_some_and(|block| block.failed);
        if failed && !Self::ends_transaction(&parsed.command) {
            return Err(in_failed_block());
        }
        let text = parsed.source.text().clone();
        match &parsed.command {
            SqlCommand::Query(_) | SqlCommand::Insert(_) | SqlCommand::Update(_) | SqlCommand::Delete(_) => {
                self.begin_planning().await?;
                let catalogue = self.catalogue().await?;
                let plan = Arc::new(self.plan(&parsed, &declared, &catalogue, parameters_max)?);
                let (parameters, columns) = (plan.parameters.clone(), plan.columns.clone());
                let of_names = !plan.of_node_alone;
                let body = Body::Plan { parsed, declared, plan: Mutex::new(plan) };
                Ok(Prepared::new(text, parameters, columns, body).of_names(of_names))
            }
            SqlCommand::Utility(Utility::Execute { name, .. }) => {
                // Whether there is such a statement is asked when it runs.
                let named = self.find_stored(name).ok();
                let of_names = named.as_ref().is_none_or(|named| named.of_names);
                let columns = named.and_then(|named| named.columns().map(<[_]>::to_vec));
                let prepared = Prepared::new(text, Vec::new(), columns, Body::Utility(parsed));
                Ok(prepared.of_names(of_names))
            }
            SqlCommand::Utility(Utility::Fetch { name, shows: true, .. }) => {
                // Whether there is such a cursor is asked when it runs.
                let columns = self.cursor_columns(name);
                Ok(Prepared::new(text, Vec::new(), columns, Body::Utility(parsed)))
            }
            SqlCommand::Utility(Utility::Declare { query, .. }) => {
                let query = query.clone();
                let inner = Box::pin(self.analyse(query, declared, parameters_max)).await?;
                let parameters = inner.parameter_types().to_vec();
                Ok(Prepared::new(text, parameters, None, Body::Utility(parsed)))
            }
            SqlCommand::Utility(Utility::Show(target)) => {
                let columns = show_columns(target, &*self.environment);
                Ok(Prepared::new(text, Vec::new(), Some(columns), Body::Utility(parsed)))
            }
            SqlCommand::Utility(Utility::Explain { statement, .. }) => {
                let parameters = self.parameters_of(statement, declared, parameters_max).await?;
                let columns = vec![text_column("QUERY PLAN")];
                Ok(Prepared::new(text, parameters, Some(columns), Body::Utility(parsed)))
            }
            SqlCommand::CreateTable(table) if parameters_max > 0 => {
                let parameters = match filling(&parsed, table) {
                    Some(query) => self.parameters_of(&Arc::new(query), declared, parameters_max).await?,
                    None => Vec::new(),
                };
                Ok(Prepared::new(text, parameters, None, Body::Utility(parsed)))
            }
            _ => Ok(Prepared::new(text, Vec::new(), None, Body::Utility(parsed))),
        }
    }

    /// A kept statement as it is described now: of what the catalogue holds by its names.
    ///
    /// # Errors
    ///
    /// 0A000 if it would give other columns than when it was prepared, and what analysis finds.
    pub async fn as_described(&mut self, prepared: Arc<Prepared>) -> Result<Arc<Prepared>> {
        if self.block.as_ref().is_some_and(|block| block.failed) {
            return Ok(prepared);
        }
        // Only what is planned is looked at again: a utility is described as when it was prepared.
        if !prepared.has_plan() || prepared.columns().is_none() {
            return Ok(prepared);
        }
        let described = self.columns_of_plan(&prepared).await;
        Ok(match self.noting(described).await? {
            Some(columns) if Some(columns.as_slice()) != prepared.columns() => {
                Arc::new(prepared.with_columns(Some(columns)))
            }
            _ => prepared,
        })
    }

    /// The columns of a planned statement, which is planned anew if the catalogue has changed.
    async fn columns_of_plan(&mut self, prepared: &Prepared) -> Result<Option<Vec<ResultColumn>>> {
        let Body::Plan { parsed, declared, plan } = &prepared.body else { return Ok(None) };
        self.begin_planning().await?;
        let catalogue = self.catalogue().await?;
        let known = plan.lock().clone();
        if known.version == catalogue.version {
            return Ok(known.columns.clone());
        }
        let current = self.plan(parsed, declared, &catalogue, super::PARAMETERS_MAX)?;
        if !same_result(&current, &known) {
            return Err(changed_result());
        }
        Ok(current.columns.clone())
    }

    /// The types of the parameters of a statement inside another one, which can have some.
    async fn parameters_of(
        &mut self,
        inner: &Arc<Parsed>,
        declared: Vec<Option<Type>>,
        parameters_max: usize,
    ) -> Result<Vec<Type>> {
        if parameters_max == 0 {
            return Ok(Vec::new());
        }
        let inner = Box::pin(self.analyse(inner.clone(), declared, parameters_max)).await?;
        Ok(inner.parameter_types().to_vec())
    }

    /// Plans a statement for a catalogue.
    pub(super) fn plan(
        &self,
        parsed: &Parsed,
        declared: &[Option<Type>],
        catalogue: &Catalogue,
        parameters_max: usize,
    ) -> Result<Plan> {
        self.facts.names_were_asked();
        let mut plan = self.analysing(parsed, declared.to_vec(), catalogue, |analyzer| {
            analyzer.parameters_max = parameters_max;
            sql_language::plan::plan(analyzer, &parsed.command)
        })?;
        // A constant of it may come from a name.
        plan.of_node_alone &= !self.facts.names_were_asked();
        Ok(plan)
    }

    /// Runs work of an analyser where a statement of that size has room.
    pub(super) fn analysing<T>(
        &self,
        parsed: &Parsed,
        declared: Vec<Option<Type>>,
        catalogue: &Catalogue,
        work: impl FnOnce(&mut Analyzer<'_>) -> Result<T>,
    ) -> Result<T> {
        let found = sql_types::work::aside(parsed.tokens.saturating_mul(ANALYSIS_WORK), || {
            stack::limited(self.quick.max_stack_depth_bytes, || {
                stack::roomy(parsed.tokens, || work(&mut self.analyzer(parsed, declared, catalogue)))
            })
        });
        if found.is_err() {
            self.facts.note_names();
        }
        found
    }

    pub(super) fn analyzer<'a>(
        &'a self,
        parsed: &'a Parsed,
        declared: Vec<Option<Type>>,
        catalogue: &'a Catalogue,
    ) -> Analyzer<'a> {
        let mut analyzer =
            Analyzer::new(catalogue, &*self.environment, &self.facts, &parsed.source, declared);
        analyzer.canceller = Some(&self.canceller);
        analyzer.tokens = parsed.tokens;
        analyzer
    }
}
