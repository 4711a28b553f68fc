//! Texts and what they are parsed into.

use super::*;

fn parse_all(sql: &str) -> Result<Vec<Arc<Parsed>>> {
    parse(sql, 2 << 20)
}

fn one(sql: &str) -> SqlCommand {
    let mut all = parse_all(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(all.len(), 1, "{sql}");
    all.remove(0).command.clone()
}

fn failure(sql: &str) -> (String, String, Option<u32>) {
    let error = parse_all(sql).err().unwrap_or_else(|| panic!("{sql} parses"));
    (error.code().to_string(), error.message().to_owned(), error.fields().position)
}

#[test]
fn a_message_splits_at_its_semicolons_and_not_inside_quotes() {
    let all = parse_all("select ';' ; ; /* ; */ select $$;$$; -- end;\n").unwrap();
    assert_eq!(all.len(), 2);
    assert!(parse_all(" ;; -- nothing\n").unwrap().is_empty());
    assert!(parse_all("").unwrap().is_empty());
}

#[test]
fn syntax_errors_name_the_token_and_its_position_in_the_message() {
    let near = |token: &str| format!("syntax error at or near \"{token}\"");
    assert_eq!(failure("selec 1"), ("42601".into(), near("selec"), Some(1)));
    assert_eq!(failure("select 1;\nselect a b c"), ("42601".into(), near("c"), Some(22)));
    assert_eq!(failure("select 'ä' from"), ("42601".into(), "syntax error at end of input".into(), Some(16)));
    assert_eq!(failure("create table t (a int,)"), ("42601".into(), near(")"), Some(23)));
    let (code, message, position) = failure("select 'abc");
    assert_eq!((code.as_str(), position), ("42601", Some(8)));
    assert_eq!(message, "unterminated quoted string at or near \"'abc\"");
}

#[test]
fn words_that_the_parser_lacks_are_said_otherwise() {
    for (sql, plain) in [
        ("table t", "SELECT * FROM t"),
        ("(table a) union table b", "(SELECT * FROM a) UNION SELECT * FROM b"),
        ("select * from only t for no key update", "SELECT * FROM ONLY t FOR UPDATE"),
        ("select \"only\" from t for key share nowait", "SELECT \"only\" FROM t FOR SHARE NOWAIT"),
        ("select a not like all (b), a ilike some (b)", "SELECT a !~~ ALL(b), a ~~* SOME(b)"),
    ] {
        let SqlCommand::Query(query) = one(sql) else { panic!("{sql}") };
        assert_eq!(query.to_string(), plain, "{sql}");
    }
    assert!(matches!(one("update only t set a = 1"), SqlCommand::Update(_)));
}

#[test]
fn an_insert_takes_its_rows_from_any_query_in_parentheses_or_not() {
    for (sql, plain) in [
        ("insert into t table u", "INSERT INTO t SELECT * FROM u"),
        (
            "insert into s.t as x (a, b) overriding user value ((table u)) returning a",
            "INSERT INTO s.t AS x (a, b) OVERRIDING USER VALUE SELECT * FROM u RETURNING a",
        ),
        (
            "insert into t (values (1), (2)) on conflict do nothing",
            "INSERT INTO t VALUES (1), (2) ON CONFLICT DO NOTHING",
        ),
        ("insert into t (a) (values (1, default))", "INSERT INTO t (a) VALUES (1, default)"),
        ("insert into t (values (1) union values (2))", "INSERT INTO t VALUES (1) UNION VALUES (2)"),
        (
            "insert into t (with x as (select 1) table x)",
            "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
        ),
        ("insert into t with x as (select 1) table x", "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x"),
        ("insert into t (\"values\") values (1)", "INSERT INTO t (\"values\") VALUES (1)"),
        (
            "insert into t (select 1) on conflict do nothing",
            "INSERT INTO t (SELECT 1) ON CONFLICT DO NOTHING",
        ),
    ] {
        let SqlCommand::Insert(insert) = one(sql) else { panic!("{sql}") };
        assert_eq!(insert.statement.to_string(), plain, "{sql}");
    }
    assert_eq!(failure("insert into t ((values (1))").0, "42601");
    assert_eq!(failure("grant insert on table t").0, "42601");
}

#[test]
fn what_is_absent_names_itself() {
    for (sql, name) in [
        ("listen x", "LISTEN"),
        ("declare c scroll cursor for select 1", "DECLARE SCROLL CURSOR"),
        ("fetch prior from c", "FETCH in another direction than forward"),
        ("comment on table t is 'x'", "COMMENT"),
        ("grant usage on type x to u", "GRANT ON TYPE"),
        ("prepare transaction 'x'", "PREPARE TRANSACTION"),
    ] {
        let (code, message, _) = failure(sql);
        assert_eq!((code.as_str(), message), ("0A000", format!("{name} is not supported")), "{sql}");
    }
}

#[test]
fn transaction_statements_in_all_their_spellings() {
    for sql in [
        "begin",
        "BEGIN WORK",
        "begin transaction",
        "start transaction",
        "begin isolation level read committed, read only",
    ] {
        assert!(matches!(one(sql), SqlCommand::Utility(Utility::Begin { .. })), "{sql}");
    }
    for sql in ["commit", "end", "COMMIT WORK", "commit and no chain"] {
        assert!(matches!(one(sql), SqlCommand::Utility(Utility::Commit { chain: false })), "{sql}");
    }
    assert!(matches!(one("rollback and chain"), SqlCommand::Utility(Utility::Rollback { chain: true })));
    assert!(matches!(one("abort"), SqlCommand::Utility(Utility::Rollback { chain: false })));
    assert!(matches!(one("rollback to a"), SqlCommand::Utility(Utility::RollbackTo(name)) if name == "a"));
    assert!(
        matches!(one("rollback work to savepoint \"A\""), SqlCommand::Utility(Utility::RollbackTo(name)) if name == "A")
    );
    assert!(matches!(one("release savepoint S"), SqlCommand::Utility(Utility::Release(name)) if name == "s"));
    let SqlCommand::Utility(Utility::Begin { modes, .. }) =
        one("begin isolation level repeatable read read only")
    else {
        panic!("no BEGIN")
    };
    assert_eq!(
        modes,
        vec![Mode::Isolation(sql_interface::IsolationLevel::RepeatableRead), Mode::ReadOnly(true)]
    );
}

#[test]
fn settings_keep_their_names_and_values() {
    for (sql, name, value, local) in [
        ("set work_mem = '4MB'", "work_mem", Some("4MB"), false),
        ("set local synchronous_commit to off", "synchronous_commit", Some("off"), true),
        ("set session a.b to default", "a.b", None, false),
        ("SET search_path TO a, \"B\", 'c'", "search_path", Some("a, \"B\", c"), false),
        ("set x = -1.5", "x", Some("-1.5"), false),
        ("set time zone 'Europe/Rome'", "TimeZone", Some("Europe/Rome"), false),
        ("set names 'UTF8'", "client_encoding", Some("UTF8"), false),
    ] {
        let SqlCommand::Utility(Utility::Set { local: l, name: n, value: v }) = one(sql) else {
            panic!("{sql}")
        };
        assert_eq!((n.as_str(), v.as_deref(), l), (name, value, local), "{sql}");
    }
    assert!(matches!(one("reset all"), SqlCommand::Utility(Utility::Reset(SetTarget::All))));
    assert!(matches!(one("show all"), SqlCommand::Utility(Utility::Show(SetTarget::All))));
    assert!(
        matches!(one("show transaction isolation level"), SqlCommand::Utility(Utility::Show(SetTarget::Name(n))) if n == "transaction_isolation")
    );
    assert!(
        matches!(one("alter system set a.b = 5"), SqlCommand::Utility(Utility::AlterSystem { target: SetTarget::Name(n), value: Some(v) }) if n == "a.b" && v == "5")
    );
    assert!(matches!(
        one("alter system reset all"),
        SqlCommand::Utility(Utility::AlterSystem { target: SetTarget::All, value: None })
    ));
}

#[test]
fn copy_is_read_in_both_option_styles() {
    let options = |sql: &str| {
        let SqlCommand::Utility(Utility::Copy(copy)) = one(sql) else { panic!("{sql}") };
        (copy.from, copy.subject, copy.options)
    };
    let (from, _, read) =
        options("copy public.t (a, \"B\") from stdin with (format csv, header, delimiter ';', null 'N')");
    let read = read.unwrap();
    assert!(from && read.format == CopyFormat::Csv && read.header == CopyHeader::On);
    assert_eq!((read.delimiter, read.null.as_str()), (b';', "N"));
    let (from, _, read) = options("COPY t TO STDOUT WITH CSV HEADER DELIMITER AS '|' NULL AS ''");
    let read = read.unwrap();
    assert!(!from && read.format == CopyFormat::Csv && read.delimiter == b'|');
    let (_, subject, read) = options("copy (select 1, ')') to stdout");
    let read = read.unwrap();
    assert!(matches!(subject, CopySubject::Query(_)));
    assert_eq!((read.delimiter, read.null.as_str()), (b'\t', "\\N"));
    let (_, _, read) = options("copy t from stdin (frmat csv)");
    assert_eq!(read.unwrap_err().code(), SqlState::SYNTAX_ERROR);
    assert_eq!(failure("copy t from '/tmp/x'").0, "0A000");
}

#[test]
fn roles_are_read_with_their_options() {
    let SqlCommand::Utility(Utility::CreateRole { name, options }) =
        one("create user \"Bob\" with superuser nologin password 'x' connection limit 5")
    else {
        panic!("no CREATE ROLE")
    };
    assert_eq!(name, "Bob");
    assert_eq!(
        options,
        vec![
            RoleOption::Login(true),
            RoleOption::Superuser(true),
            RoleOption::Login(false),
            RoleOption::Password(Some("x".into())),
            RoleOption::ConnectionLimit(5),
        ]
    );
    assert!(
        matches!(one("drop role if exists a, b"), SqlCommand::Utility(Utility::DropRole { if_exists: true, roles }) if roles == ["a", "b"].map(|name| RoleSpec::Named(name.into())))
    );
    assert!(matches!(one("alter role a rename to b"), SqlCommand::Utility(Utility::RenameRole { .. })));
}

#[test]
fn prepare_and_execute_carry_a_statement_and_values() {
    let SqlCommand::Utility(Utility::Prepare { name, types, statement }) =
        one("prepare p (int, text) as select $1, $2")
    else {
        panic!("no PREPARE")
    };
    assert_eq!((name.as_str(), types.len()), ("p", 2));
    assert!(matches!(statement.command, SqlCommand::Query(_)));
    let SqlCommand::Utility(Utility::Execute { name, arguments }) = one("execute p(1, 'a' || 'b')") else {
        panic!("no EXECUTE")
    };
    assert_eq!((name.as_str(), arguments.len()), ("p", 2));
    assert!(matches!(one("deallocate all"), SqlCommand::Utility(Utility::Deallocate(None))));
    assert!(matches!(one("deallocate prepare p"), SqlCommand::Utility(Utility::Deallocate(Some(_)))));
}

/// Has this much memory and no more.
struct Holds(usize);

impl work::Keeper for Holds {
    fn check(&self) -> sql_types::Result<()> {
        Ok(())
    }
    fn aside(&self, work: &mut dyn FnMut()) {
        work();
    }
    fn reserve(&self, bytes: usize) -> sql_types::Result<()> {
        let error = || sql_types::Error::new(SqlState::OUT_OF_MEMORY, "out of memory");
        if bytes <= self.0 { Ok(()) } else { Err(error()) }
    }
    fn release(&self, _: usize) {}
}

#[test]
fn what_a_text_is_cut_into_is_asked_for_before_it_is_made() {
    let mut keeper: Option<Arc<dyn work::Keeper>> = Some(Arc::new(Holds(10 << 20)));
    let _kept = work::Kept::new(&mut keeper);
    let many = 1 << 20;
    for (text, is_small) in [
        (format!("select{}1", " ".repeat(many)), false),
        (format!("select 1{}", "\n".repeat(many)), false),
        (format!("select 'a' {} 'b'", "\n".repeat(many)), false),
        (format!("select {}1", "1,".repeat(many)), false),
        (format!("select '{}'", "a b ".repeat(many)), true),
        (format!("select 1 /* {} */", "a b ".repeat(many)), true),
        ("; ;\n".repeat(many), true),
        (format!("select $x${}$x$", "a b ".repeat(many)), true),
    ] {
        let code = parse_all(&text).map(drop).map_err(|error| error.code().to_string());
        assert_eq!(code, if is_small { Ok(()) } else { Err("53200".to_owned()) }, "{}", &text[..20]);
    }
}

#[test]
fn words_that_need_as_before_them_name_no_column_alone() {
    for word in ["within", "without", "year"] {
        let (code, message, _) = failure(&format!("select 1 {word}"));
        assert_eq!((code.as_str(), message), ("42601", format!("syntax error at or near \"{word}\"")));
        one(&format!("select 1 as {word}"));
    }
}

#[test]
fn uescape_takes_a_literal_with_escapes_too() {
    for sql in ["select U&'d!0061t' uescape E'!'", "select U&'d!0061t' uescape e'\\x21'"] {
        let shown = format!("{:?}", one(sql));
        assert!(shown.contains("\"dat\""), "{shown}");
    }
    let (code, message, _) = failure("select U&'x' uescape E'\\x61'");
    assert_eq!(code, "42601");
    assert!(message.starts_with("invalid Unicode escape character"), "{message}");
}
