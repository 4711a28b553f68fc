use super::*;

#[test]
fn passwords_are_hidden_and_all_else_stays() {
    for (given, hidden) in [
        ("CREATE ROLE a PASSWORD 'it''s' LOGIN", "CREATE ROLE a PASSWORD '********' LOGIN"),
        ("alter user a password\n E'x\\'y'", "alter user a password\n E'********'"),
        ("CREATE USER a ENCRYPTED PASSWORD $x$s$x$;", "CREATE USER a ENCRYPTED PASSWORD $x$********$x$;"),
        ("SET c = 'host=a password=s port=1'", "SET c = 'host=a password=******** port=1'"),
        ("SET c = 'password = ''s s'' port=1'", "SET c = 'password = ''********'' port=1'"),
        ("host=a PASSWORD='s s' x=1", "host=a PASSWORD='********' x=1"),
        ("sslpassword=s&password=t", "sslpassword=********"),
        ("password=a\"b&c)d;e port=1", "password=******** port=1"),
        ("password=a\\ b port=1", "password=******** port=1"),
        ("password='a\\'b' port=1", "password='********' port=1"),
        ("PASSWORD /* new */ 's'", "PASSWORD /* new */ '********'"),
        ("PASSWORD -- new\n 's'", "PASSWORD -- new\n '********'"),
        ("PASSWORD U&'s'", "PASSWORD U&'********'"),
        ("postgres://me:s@h/d and http://h:1/", "postgres://me:********@h/d and http://h:1/"),
        ("ALTER ROLE a PASSWORD 's", "ALTER ROLE a PASSWORD '********"),
        ("ALTER ROLE a_password PASSWORD 's'", "ALTER ROLE a_password PASSWORD '********'"),
        ("ALTER ROLE a PASSWORD 'it's S' LOGIN", "ALTER ROLE a PASSWORD '********'********"),
        ("ALTER ROLE a PASSWORD ''S''", "ALTER ROLE a PASSWORD '********'********"),
        ("ALTER ROLE a PASSWORD 'a\\'S'", "ALTER ROLE a PASSWORD '********'********"),
        ("ALTER ROLE a PASSWORD 'a' 'S'", "ALTER ROLE a PASSWORD '********'********"),
        ("ALTER ROLE a PASSWORD 's'; SELECT 1", "ALTER ROLE a PASSWORD '********'; SELECT 1"),
        ("ALTER ROLE a PASSWORD 's' LOGIN", "ALTER ROLE a PASSWORD '********' LOGIN"),
        ("alter role password password 's'", "alter role password password '********'"),
        (
            "create role a in role \"password\" password s",
            "create role a in role \"password\" password ********",
        ),
        (
            "create role a role a_password, b password 's'",
            "create role a role a_password, b password '********'",
        ),
        (
            "SELECT \"set_config\"('my.password', 's', false)",
            "SELECT \"set_config\"('my.password', '********', false)",
        ),
        ("ALTER ROLE a PASSWORD s's LOGIN", "ALTER ROLE a PASSWORD ******** LOGIN"),
        ("create user a password \"s s\"; select 1", "create user a password \"********\"; select 1"),
        (
            "SELECT set_config('my.password', 's', false)",
            "SELECT set_config('my.password', '********', false)",
        ),
        (
            "SELECT SET_CONFIG ( 'a.password'::text ,lower('s,)')||'s',true)",
            "SELECT SET_CONFIG ( 'a.password'::text ,********,true)",
        ),
    ] {
        assert_eq!(without_secrets(given), hidden);
    }
    for plain in [
        "ALTER ROLE a PASSWORD NULL",
        "SET password_encryption = 'x'",
        "SELECT password FROM users",
        "CREATE ROLE a; SELECT password FROM users",
        "ALTER ROLE a PASSWORD null; SELECT 1",
        "SELECT set_config('work_mem', '1MB', false), set_config(",
        "SELECT 'it''s', E'\\n', \"a\"\"b\", $1, $x$ $y$ $x$ /* ' */ -- '",
        "password",
        "password=",
        "postgres://me@h/d",
        "é password é 'ü",
        "/*",
        "'",
        "U&'",
        "$a$",
    ] {
        assert!(matches!(without_secrets(plain), Cow::Borrowed(same) if same == plain), "{plain}");
    }
}

#[test]
fn passwords_are_hidden_in_what_no_parser_takes() {
    for (given, hidden) in [
        ("ALTER ROLE a PASSWORD $1$ S", "ALTER ROLE a PASSWORD ********"),
        ("ALTER ROLE a PASSWORD $1$ S $1$ LOGIN", "ALTER ROLE a PASSWORD ********"),
        ("ALTER ROLE a PASSWORD + 'S'", "ALTER ROLE a PASSWORD ********"),
        ("ALTER ROLE a PASSWORD ('S')", "ALTER ROLE a PASSWORD ********"),
        ("ALTER ROLE a ENCRYPTED 'S' LOGIN", "ALTER ROLE a ENCRYPTED '********' LOGIN"),
        ("create user a unencrypted S", "create user a unencrypted ********"),
        ("ALTER ROLE a ENCRYPTED PASSWORD 'S'", "ALTER ROLE a ENCRYPTED PASSWORD '********'"),
    ] {
        assert_eq!(without_secrets(given), hidden);
    }
}

#[test]
fn passwords_are_found_where_the_parser_finds_them() {
    for (given, hidden) in [
        ("PASSWORD 'a'\n 'S' LOGIN", "PASSWORD '********' LOGIN"),
        ("PASSWORD 'a' -- x\n 'S'", "PASSWORD '********'"),
        ("PASSWORD E'a'\n'S\\'S'", "PASSWORD E'********'"),
        ("PASSWORD 'a' 'b'", "PASSWORD '********' 'b'"),
        ("/* password 'x */ PASSWORD 'S'", "/* password '******** PASSWORD '********'"),
        ("PASSWORD /* /* ' */ ' */ 'S'", "PASSWORD /* /* ' */ ' */ '********'"),
        (
            "SET c = 'postgresql://u@h/d?pass%77ord=S&port=1'",
            "SET c = 'postgresql://u@h/d?pass%77ord=********&port=1'",
        ),
        ("SET c = E'host=x pass\\x77ord=S'", "SET c = E'host=x password=********'"),
        ("SET c = U&'pass\\0077ord=S'", "SET c = U&'password=********'"),
        ("SET c = U&'pass!0077ord=S' UESCAPE '!'", "SET c = U&'password=********'"),
        ("$1 = 'alter role x password ''S'''", "$1 = 'alter role x password ''********'''"),
        ("$1 = 'password=S', $2 = 'b'", "$1 = 'password=********', $2 = 'b'"),
        ("DO 'BEGIN ALTER ROLE x PASSWORD ''S''; END'", "DO 'BEGIN ALTER ROLE x PASSWORD ''********''; END'"),
        (
            "DO $$ EXECUTE 'ALTER ROLE x PASSWORD ''S''' $$",
            "DO $$ EXECUTE 'ALTER ROLE x PASSWORD ''********''' $$",
        ),
        ("value \"password=S\" is", "value \"password=********\" is"),
        ("it's password=S", "it's password=********"),
        ("OPTIONS (\"password\" 'S')", "OPTIONS (\"password\" '********')"),
        ("-- it's\ralter role r password 'S'", "-- it's\ralter role r password '********'"),
        ("PASSWORD -- new\r'S'", "PASSWORD -- new\r'********'"),
        ("PASSWORD 'a' -- x\r'S'", "PASSWORD '********'"),
        ("SET my.password TO 'S'", "SET my.password TO '********'"),
        ("SET \"my.password\" TO 'S', 'S'", "SET \"my.password\" TO '********', '********'"),
        ("ALTER ROLE r SET my.password TO S", "ALTER ROLE r SET my.password TO ********"),
        ("SET my.password = $$S S$$", "SET my.password = $$********$$"),
        (
            "SET c = 'application_name=it''s password=''S S'''",
            "SET c = 'application_name=it''s password=''********'''",
        ),
        ("alter role a pasword 'S'", "alter role a pasword '********'"),
        ("CREATE USER a IDENTIFIED BY 'S'", "CREATE USER a IDENTIFIED BY '********'"),
        ("ALTER ROLE a PASS/**/WORD E'S'", "ALTER ROLE a PASS/**/WORD E'********'"),
        ("ALTER ROLE a VALID UNTIL 'infinity'", "ALTER ROLE a VALID UNTIL 'infinity'"),
        ("ALTER USER a SET b.c = 'd', 'e'", "ALTER USER a SET b.c = 'd', 'e'"),
        ("UPDATE t SET password=lower('S S') WHERE b", "UPDATE t SET password=******** WHERE b"),
        (
            "invalid value for parameter \"plimsoll.peers\": \"host=x password=a\"S bogus\"",
            "invalid value for parameter \"plimsoll.peers\": \"host=x password=******** ********\"",
        ),
        (
            "missing \"=\" after \"S\"S\" in connection info string",
            "missing \"=\" after \"********\" in connection info string",
        ),
    ] {
        assert_eq!(without_secrets(given), hidden);
    }
}

#[test]
fn parameters_are_secrets_where_values_would_be() {
    let of = |statement| {
        let found = secret_parameters(statement).into_iter();
        found.map(|one| (one.number, one.named_by)).collect::<Vec<_>>()
    };
    assert_eq!(of("select set_config($2, $1, $3)"), [(1, Some(2))]);
    assert_eq!(of("select set_config('my.password', $1, false), $2"), [(1, None)]);
    assert_eq!(of("select set_config($1::text, $2::text, false)"), [(2, Some(1))]);
    assert_eq!(of("update t set password = $1::text where a = $2"), [(1, None)]);
    assert_eq!(of("update t set password = $2 where a = $1"), [(2, None)]);
    assert_eq!(of("select set_config('work_mem', $1, false), $2"), []);
    for (given, hidden) in [
        ("select $1 as \"password=S\"", "select $1 as \"password=********\""),
        ("select /* password 'S' */ password = $1", "select /* password '********' */ password = $1"),
    ] {
        assert_eq!(without_quoted_secrets(given), hidden);
    }
    // One way through, however often it begins.
    for many in ["set_config(", "set_config('password'", "set_config('password',", "set_config($1,$1"] {
        without_secrets(&many.repeat(100_000));
    }
    let deep = format!("{}password 'S'", "/*".repeat(100_000));
    assert!(!without_secrets(&deep).contains('S'));
}
