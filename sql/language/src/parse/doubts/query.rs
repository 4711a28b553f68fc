//! What may be foreign in queries and in statements that change rows.

use super::Doubts;
use sqlparser::ast::{self, SetExpr, Statement};

/// Words that name a column of a result behind AS alone (AS_LABEL in PostgreSQL's list of key words).
const LABELS: [&str; 39] = [
    "array",
    "as",
    "char",
    "character",
    "create",
    "day",
    "except",
    "fetch",
    "filter",
    "for",
    "from",
    "grant",
    "group",
    "having",
    "hour",
    "intersect",
    "into",
    "isnull",
    "limit",
    "minute",
    "month",
    "notnull",
    "offset",
    "on",
    "order",
    "over",
    "overlaps",
    "precision",
    "returning",
    "second",
    "to",
    "union",
    "varying",
    "where",
    "window",
    "with",
    "within",
    "without",
    "year",
];

impl Doubts<'_> {
    pub(super) fn statement(&mut self, statement: &Statement) {
        match statement {
            // Its parts come by themselves.
            Statement::Query(_) => {}
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            _ => self.ask = true,
        }
    }

    pub(super) fn query(&mut self, query: &ast::Query) {
        let ast::Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks: _,
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators,
        } = query
        else {
            self.foreign_if(true);
            return;
        };
        let percent = |ast::Fetch { with_ties: _, percent, quantity: _ }: &ast::Fetch| *percent;
        self.foreign_if(!pipe_operators.is_empty() || fetch.as_ref().is_some_and(percent));
        for cte in with.iter().flat_map(|with| &with.cte_tables) {
            let ast::Cte { alias, query: _, from, materialized: _, closing_paren_token: _ } = cte;
            self.table_alias(alias);
            self.foreign_if(from.is_some());
        }
        if let Some(ast::OrderBy { kind, interpolate }) = order_by {
            self.foreign_if(interpolate.is_some() || !matches!(kind, ast::OrderByKind::Expressions(_)));
        }
        match limit_clause {
            None => {}
            Some(ast::LimitClause::LimitOffset { limit: _, offset: _, limit_by }) => {
                self.foreign_if(!limit_by.is_empty());
            }
            Some(ast::LimitClause::OffsetCommaLimit { .. }) => self.ask = true,
        }
        let mut bodies = vec![&**body];
        while let Some(body) = bodies.pop() {
            match body {
                SetExpr::Select(_) | SetExpr::Query(_) => {}
                SetExpr::Values(ast::Values { explicit_row, value_keyword, rows: _ }) => {
                    self.foreign_if(*explicit_row || *value_keyword);
                }
                SetExpr::SetOperation { left, op, set_quantifier, right } => {
                    use ast::SetQuantifier::{All, Distinct, None};
                    self.foreign_if(*op == ast::SetOperator::Minus);
                    self.foreign_if(!matches!(set_quantifier, All | Distinct | None));
                    bodies.extend([&**left, &**right]);
                }
                SetExpr::Table(_)
                | SetExpr::Insert(_)
                | SetExpr::Update(_)
                | SetExpr::Delete(_)
                | SetExpr::Merge(_) => self.ask = true,
            }
        }
    }

    pub(super) fn select(&mut self, select: &ast::Select) {
        let ast::Select {
            select_token: _,
            // A comment to PostgreSQL.
            optimizer_hints: _,
            distinct,
            select_modifiers: None,
            top: None,
            top_before_distinct: false,
            projection,
            exclude: None,
            // PostgreSQL's; the planner says that they are absent.
            into,
            named_window: _,
            from,
            lateral_views,
            prewhere: None,
            selection: _,
            connect_by,
            group_by: ast::GroupByExpr::Expressions(_, modifiers),
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            qualify: None,
            window_before_qualify: false,
            value_table_mode: None,
            flavor: ast::SelectFlavor::Standard,
        } = select
        else {
            self.foreign_if(true);
            return;
        };
        let foreign = !lateral_views.is_empty()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || !modifiers.is_empty();
        self.foreign_if(foreign);
        let by_nothing = matches!(distinct, Some(ast::Distinct::On(keys)) if keys.is_empty());
        self.ask_if(into.is_some() || by_nothing || (distinct.is_some() && projection.is_empty()));
        self.items(projection);
        self.tables(from);
    }

    /// A select list, or RETURNING.
    fn items(&mut self, items: &[ast::SelectItem]) {
        for item in items {
            match item {
                ast::SelectItem::UnnamedExpr(_) => {}
                ast::SelectItem::ExprWithAlias { expr: _, alias } => self.label(alias),
                ast::SelectItem::ExprWithAliases { .. } => self.ask = true,
                ast::SelectItem::QualifiedWildcard(kind, options) => {
                    self.ask_if(!matches!(kind, ast::SelectItemQualifiedWildcardKind::ObjectName(_)));
                    self.star(options);
                }
                ast::SelectItem::Wildcard(options) => self.star(options),
            }
        }
    }

    /// What other servers write behind a star.
    pub(super) fn star(&mut self, options: &ast::WildcardAdditionalOptions) {
        let ast::WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        self.ask_if(
            opt_ilike.is_some()
                || opt_exclude.is_some()
                || opt_except.is_some()
                || opt_replace.is_some()
                || opt_rename.is_some()
                || opt_alias.is_some(),
        );
    }

    /// The name of a column of the result: some key words ask for AS.
    fn label(&mut self, alias: &ast::Ident) {
        // What the parser takes for a name and a label is a type and a constant of it.
        let is_text = alias.quote_style.is_some_and(|quote| quote != '"');
        self.absent_if(is_text, "a constant of a type with this name");
        if alias.quote_style.is_none() && LABELS.iter().any(|word| alias.value.eq_ignore_ascii_case(word)) {
            let start = self.source.position(alias.span.start).map_or(0, |place| self.source.offset(place));
            let before = self.source.text().get(..start).unwrap_or_default().trim_end();
            let behind_as = before
                .get(before.len().saturating_sub(2)..)
                .is_some_and(|word| word.eq_ignore_ascii_case("as"));
            self.ask_if(!behind_as);
        }
    }

    fn tables(&mut self, tables: &[ast::TableWithJoins]) {
        for ast::TableWithJoins { relation: _, joins } in tables {
            for ast::Join { relation: _, global, join_operator } in joins {
                use ast::JoinOperator as Op;
                self.foreign_if(*global);
                match join_operator {
                    Op::Join(constraint)
                    | Op::Inner(constraint)
                    | Op::Left(constraint)
                    | Op::LeftOuter(constraint)
                    | Op::Right(constraint)
                    | Op::RightOuter(constraint)
                    | Op::FullOuter(constraint) => {
                        self.ask_if(matches!(constraint, ast::JoinConstraint::None));
                    }
                    Op::CrossJoin(constraint) => {
                        let given = !matches!(constraint, ast::JoinConstraint::None);
                        self.absent_if(given, "a condition of CROSS JOIN");
                    }
                    _ => self.foreign_if(true),
                }
            }
        }
    }

    fn table_alias(&mut self, alias: &ast::TableAlias) {
        let ast::TableAlias { explicit: _, name, columns, at } = alias;
        self.foreign_if(at.is_some());
        self.name(name);
        for ast::TableAliasColumnDef { name, data_type } in columns {
            self.name(name);
            self.absent_if(data_type.is_some(), "a column definition list");
        }
    }

    pub(super) fn factor(&mut self, factor: &ast::TableFactor) {
        use ast::TableFactor as Factor;
        let alias = match factor {
            Factor::Table {
                name: _,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_directives,
                // There is no inheritance.
                inheritance: _,
            } => {
                let foreign = !with_hints.is_empty()
                    || version.is_some()
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || !index_directives.is_empty();
                self.foreign_if(foreign || args.as_ref().is_some_and(|args| args.settings.is_some()));
                // It is for functions.
                self.ask_if(*with_ordinality && args.is_none());
                self.absent_if(sample.is_some(), "TABLESAMPLE");
                alias
            }
            Factor::Derived { lateral: _, subquery: _, alias, sample } => {
                self.ask_if(sample.is_some());
                alias
            }
            Factor::Function { lateral: _, name: _, args: _, with_ordinality: _, alias } => alias,
            Factor::UNNEST { alias, array_exprs: _, with_offset, with_offset_alias, with_ordinality: _ } => {
                self.foreign_if(*with_offset || with_offset_alias.is_some());
                alias
            }
            Factor::NestedJoin { table_with_joins, alias } => {
                self.tables(std::slice::from_ref(table_with_joins));
                alias
            }
            _ => {
                self.ask = true;
                return;
            }
        };
        if let Some(alias) = alias {
            self.table_alias(alias);
        }
    }

    fn insert(&mut self, insert: &ast::Insert) {
        let ast::Insert {
            insert_token: _,
            optimizer_hints: _,
            or: None,
            ignore: false,
            by_name: false,
            into: true,
            overriding: _,
            table: ast::TableObject::TableName(_),
            table_alias,
            columns,
            overwrite: false,
            source,
            assignments,
            partitioned: None,
            after_columns,
            has_table_keyword: false,
            on,
            returning,
            output: None,
            replace_into: false,
            priority: None,
            insert_alias: None,
            settings: None,
            format_clause: None,
            multi_table_insert_type: None,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause: None,
        } = insert
        else {
            self.foreign_if(true);
            return;
        };
        self.foreign_if(!assignments.is_empty() || !after_columns.is_empty());
        self.foreign_if(!multi_table_into_clauses.is_empty() || !multi_table_when_clauses.is_empty());
        self.ask_if(source.is_none() && !columns.is_empty());
        if let Some(ast::TableAliasWithoutColumns { explicit, alias }) = table_alias {
            self.ask_if(!*explicit);
            self.name(alias);
        }
        columns.iter().for_each(|column| self.object_name(column));
        match on {
            None => {}
            Some(ast::OnInsert::OnConflict(ast::OnConflict { conflict_target, action })) => {
                let of_part =
                    matches!(conflict_target, Some(ast::ConflictTarget::Columns { predicate: Some(_), .. }));
                self.absent_if(of_part, "ON CONFLICT with a predicate");
                match action {
                    ast::OnConflictAction::DoUpdate(ast::DoUpdate { assignments, selection: _ }) => {
                        self.assignments(assignments);
                    }
                    ast::OnConflictAction::DoNothing => {}
                }
            }
            Some(_) => self.ask = true,
        }
        self.items(returning.as_deref().unwrap_or_default());
    }

    fn assignments(&mut self, assignments: &[ast::Assignment]) {
        for ast::Assignment { target, value: _ } in assignments {
            match target {
                ast::AssignmentTarget::ColumnName(name) => self.object_name(name),
                ast::AssignmentTarget::Tuple(names) => {
                    names.iter().for_each(|name| self.object_name(name));
                }
            }
        }
    }

    fn update(&mut self, update: &ast::Update) {
        let ast::Update {
            update_token: _,
            on_cluster: None,
            settings: None,
            optimizer_hints: _,
            table,
            assignments,
            from,
            selection: _,
            returning,
            output: None,
            or: None,
            order_by,
            limit: None,
        } = update
        else {
            self.foreign_if(true);
            return;
        };
        self.foreign_if(!order_by.is_empty() || !table.joins.is_empty());
        self.assignments(assignments);
        match from {
            None => {}
            Some(ast::UpdateTableFromKind::AfterSet(tables)) => self.tables(tables),
            Some(ast::UpdateTableFromKind::BeforeSet(_)) => self.foreign_if(true),
        }
        self.items(returning.as_deref().unwrap_or_default());
    }

    fn delete(&mut self, delete: &ast::Delete) {
        let ast::Delete {
            delete_token: _,
            on_cluster: None,
            settings: None,
            optimizer_hints: _,
            tables,
            from: ast::FromTable::WithFromKeyword(from),
            using,
            selection: _,
            returning,
            output: None,
            order_by,
            limit: None,
        } = delete
        else {
            self.foreign_if(true);
            return;
        };
        self.foreign_if(!tables.is_empty() || !order_by.is_empty());
        self.foreign_if(from.len() != 1 || from.iter().any(|table| !table.joins.is_empty()));
        self.tables(using.as_deref().unwrap_or_default());
        self.items(returning.as_deref().unwrap_or_default());
    }
}
