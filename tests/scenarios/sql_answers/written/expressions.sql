-- Types of expressions, constants, parameters, and what may stand where.
CREATE TABLE ex (id int PRIMARY KEY, t text, v varchar(4), n numeric(5,1), ts timestamp(0), c char(3), va varchar(4)[]);
INSERT INTO ex VALUES (1, 'p', 'v', 1.5, '2020-01-01', 'c', '{a,b}'), (2, 'q', NULL, NULL, NULL, NULL, NULL);
CREATE SEQUENCE ex_s;
-- BETWEEN SYMMETRIC.
SELECT 2 BETWEEN SYMMETRIC 3 AND 1, 2 NOT BETWEEN SYMMETRIC 3 AND 1, 5 NOT BETWEEN SYMMETRIC NULL AND 1;
SELECT 2 BETWEEN SYMMETRIC (3) AND 1 AND true, 2 BETWEEN ASYMMETRIC (1) AND 3, 2 BETWEEN ASYMMETRIC -1 AND 3;
SELECT 2 BETWEEN SYMMETRIC -1 AND 3, 2 BETWEEN symmetric 'a' AND 3;
SELECT id FROM ex WHERE id BETWEEN SYMMETRIC 3 AND (2) ORDER BY id;
SELECT symmetric FROM ex;
SELECT 2 BETWEEN SYMMETRIC;
CREATE TABLE ex_check (a int CHECK (a BETWEEN SYMMETRIC 3 AND 1));
INSERT INTO ex_check VALUES (2);
INSERT INTO ex_check VALUES (4);
-- Constants with the name of a type.
SELECT pg_catalog.int4 '5', pg_catalog.numeric(5,1) '5.57', pg_catalog.varchar(3) 'abcdef', "int4" '1' + 1;
SELECT "char" 'a', pg_catalog."text" 'b', oid '5', pg_lsn '0/1', pg_catalog.date '2020-01-01', char 'abc', name 'abc';
SELECT id FROM ex WHERE pg_catalog.int4 '1' = id;
SELECT pg_catalog.bool 't' AND pg_catalog."bool" 'f', pg_catalog.interval '1 day', pg_catalog.regclass 'ex';
SELECT nosuch 'a';
SELECT "nosuch" 'a';
SELECT pg_catalog.nosuch 'a';
SELECT nosuch.int4 'a';
SELECT int4[] '{1}';
SELECT values 'a';
SELECT user 'a';
SELECT N'abc', pg_typeof(N'abc'), length(N'abc  '), n'abc  ' = 'abc', nchar 'abc', nchar(2) 'abc';
CREATE TABLE ex_n AS SELECT N'abc';
SELECT attname, atttypid::regtype, atttypmod FROM pg_attribute WHERE attrelid = 'ex_n'::regclass AND attnum > 0;
-- Names and literals with escapes.
SELECT U&"d\0061t", u&"d\0061t\+000061" FROM (SELECT 1 AS dat, 2 AS data) q;
SELECT U&"d!0061t" UESCAPE E'!', U&'d!0061t' UESCAPE E'\x21' FROM (SELECT 1 AS dat) q;
SELECT 1 within;
SELECT 1 AS within;
SELECT U&"d!0061t" UESCAPE '!', U&'d!0061t' UESCAPE '!', U&'d\0061t' FROM (SELECT 1 AS dat) q;
CREATE TABLE U&"ex\005ftab" (U&"c\006fl" int, U&"\65e5\672c" int);
INSERT INTO ex_tab (col, "日本") VALUES (5, 6);
SELECT U&"ex\005ftab".U&"c\006fl", q.* FROM U&"ex\005ftab", ex_tab AS q;
SELECT U&"\d83d\de00" FROM (SELECT 1 AS "😀") q;
SELECT U&"b\xyz1" FROM ex;
SELECT U&"\0000" FROM ex;
SELECT U&'\0000' FROM ex;
SELECT U&'\zzzz' FROM ex;
SELECT U&"a\d83db" FROM ex;
SELECT U&"a" UESCAPE 'a' FROM ex;
SELECT U&"a" UESCAPE '+' FROM ex;
SELECT U&"" FROM ex;
SELECT 5 & 4, id&id FROM ex ORDER BY id;
-- Comparisons do not chain, and words with a syntax of their own name no functions.
SELECT 1 < 2 < 3;
SELECT 1 <> 2 = true;
SELECT (1 < 2) = true, true = (1 < 2), 1 = 1 IS TRUE;
CREATE TABLE ex_default (a bool DEFAULT not true);
CREATE TABLE ex_default (a bool DEFAULT (not true));
SELECT current_date(1);
SELECT current_timestamp(-1);
SELECT localtimestamp('1');
SELECT current_timestamp(7) IS NULL, localtime(7) IS NULL;
SELECT exists(nextval('ex_s'));
SELECT exists(1);
SELECT between(1);
SELECT values(1);
SELECT nextval('ex_s');
-- Functions without parentheses in FROM.
SELECT * FROM current_user, session_user AS s, current_catalog c(d), user;
SELECT u, current_role FROM current_schema AS u, current_role;
SELECT current_date = now()::date FROM current_date;
SELECT count(*) FROM current_timestamp, localtimestamp(1), localtime;
SELECT * FROM current_user WITH ORDINALITY;
SELECT * FROM "current_user";
SELECT ex.id, current_user FROM ex, current_user WHERE id = 1;
-- Sets where a value may not be computed.
SELECT CASE WHEN id = 1 THEN generate_series(1, 2) END FROM ex;
SELECT CASE generate_series(1, 2) WHEN 1 THEN 2 END;
SELECT CASE WHEN generate_series(1, 2) = 1 THEN 2 END;
SELECT CASE WHEN true THEN 1 ELSE generate_series(1, 2) END;
SELECT coalesce(generate_series(1, 2), 3);
SELECT sum(coalesce(generate_series(1, 2), 3));
SELECT generate_series(1, 2) IN (1);
SELECT generate_series(1, 2) BETWEEN 1 AND 2;
SELECT generate_series(1, 2) = 1 AND true;
SELECT nullif(generate_series(1, 2), 1), greatest(generate_series(1, 2), 2), generate_series(1, 2) = 1;
SELECT coalesce((SELECT max(g) FROM generate_series(1, 2) g), 3), CASE WHEN 1 IN (SELECT generate_series(1, 2)) THEN 5 END;
-- Numbers.
SELECT '0/16B3748'::pg_lsn + 2.5, '0/16B3748'::pg_lsn + (-2.5), '0/16B3748'::pg_lsn - 2.5, -0.5 + '0/16B3748'::pg_lsn;
SELECT '0/0'::pg_lsn - 0.4, '0/16B3748'::pg_lsn - (-1.5), 'FFFFFFFF/FFFFFFFF'::pg_lsn + 0.4;
SELECT '0/0'::pg_lsn - 0.5;
SELECT 'FFFFFFFF/FFFFFFFF'::pg_lsn + 0.5;
SELECT '0/1'::pg_lsn + 'Infinity'::numeric;
SELECT '0/1'::pg_lsn - 'NaN'::numeric;
SELECT sign('NaN'::float8), sign('NaN'::numeric), sign(-0.0::float8), sign('-inf'::float8), sign('Infinity'::numeric);
-- Modifiers of types.
CREATE TABLE ex_made AS SELECT coalesce(NULL, v) a1, coalesce(v, v) a2, nullif(v, 'x') a3, CASE WHEN id = 1 THEN v END a4, greatest(n, n) a5, (array[n])[1] a6, array[n] a7, array_agg(v) a8, (array[v, v])[1] a9, CASE WHEN id = 1 THEN n ELSE n END a10, coalesce(n, 1) a11, array(SELECT v FROM ex) a12, nullif(c, 'x') a13, coalesce(ts, NULL) a14, CASE WHEN true THEN v END a15, nullif(n, 1) a16, array[v, 'x'] a17 FROM ex GROUP BY id, v, n;
SELECT attname, atttypid::regtype, atttypmod FROM pg_attribute WHERE attrelid = 'ex_made'::regclass AND attnum > 0 ORDER BY attnum;
SELECT * FROM ex_made ORDER BY a2;
SELECT pg_typeof(nullif(v, 'x')), nullif(v, 'v') FROM ex ORDER BY id;
-- OIDs of the catalogue in columns.
CREATE TABLE ex_reg (p regproc, pr regprocedure, r regrole, n regnamespace, o regoper, c regclass, t regtype);
INSERT INTO ex_reg (p, pr, r, n, o, c, t) VALUES (5::bigint, 5::int, 10::bigint, 11::bigint, 5::int2, 5::bigint, 23::bigint);
INSERT INTO ex_reg (p, r, n) VALUES ('5', 'postgres', 'pg_catalog'), ('now', NULL, 'public'::regnamespace);
INSERT INTO ex_reg (p) VALUES (-5::bigint);
SELECT * FROM ex_reg ORDER BY p, n;
UPDATE ex_reg SET p = 6::bigint WHERE p = 5;
SELECT p FROM ex_reg WHERE p = 'now'::regproc;
CREATE INDEX ON ex_reg (p);
SELECT p, r FROM ex_reg WHERE p = 6::regproc ORDER BY n;
CREATE TABLE ex_reg2 AS SELECT 23::bigint::regtype a, 10::bigint::regrole b, 'now'::regproc c;
SELECT * FROM ex_reg2;
-- Bits.
-- absent: the type bit
SELECT get_bit('101', 1);
-- absent: the type bit, which refuses the text
SELECT set_bit('abc', 1, 0);
SELECT get_bit('\x01'::bytea, 0), get_bit('a', 1::bigint), get_bit(NULL, 1), get_byte('abc', 1);
SELECT array_agg('a');
-- Names of constraints are cut at the ends of characters.
CREATE TABLE éééééééééééééééééééééééééééééé (ü int UNIQUE, x int CHECK (x > 0));
CREATE TABLE xéééééééééééééééééééééééééééé (xéééééééééééééééééééééééééééé int UNIQUE, "日本語日本語日本語日本語日本語日本語日本語日本" int UNIQUE CHECK ("日本語日本語日本語日本語日本語日本語日本語日本" > 0));
CREATE TABLE "日本語日本語日本語日本語日本語日本" ("日本語日本語日本語日本語日本語日本語日本" int UNIQUE, "日本語日本語日本語日本語日本語日本語日" serial);
SELECT conname FROM pg_constraint WHERE conrelid >= 16384 AND conname ~ '^[^e]' ORDER BY conname COLLATE "C";
-- Parameters that nothing but their place gives a type.
PREPARE ex1 AS SELECT $1 ORDER BY $1;
EXECUTE ex1('a');
PREPARE ex2 AS SELECT DISTINCT $1 FROM ex;
EXECUTE ex2('a');
PREPARE ex3 AS SELECT $1, count(*) FROM ex GROUP BY 1;
EXECUTE ex3('a');
PREPARE ex4 AS VALUES ($1, $2), ($2, 'b') ORDER BY 1;
EXECUTE ex4('a', 'b');
PREPARE ex5 AS SELECT DISTINCT ON ($1) id FROM ex ORDER BY $1, id;
EXECUTE ex5('a');
PREPARE ex6 AS SELECT id FROM ex WHERE $1 IS NULL OR id = $1 ORDER BY id;
PREPARE ex6 AS SELECT id FROM ex WHERE id = $1 OR $1 IS NULL ORDER BY id;
EXECUTE ex6(2);
EXECUTE ex6(NULL);
PREPARE ex7 AS SELECT $1 IS NULL;
PREPARE ex8 AS SELECT count($1);
PREPARE ex9 AS SELECT concat($1);
PREPARE ex9 AS SELECT concat($1), $1::int;
PREPARE ex9 AS SELECT $1::int, concat($1);
EXECUTE ex9(3);
PREPARE ex10(int, unknown) AS SELECT $1, $2;
EXECUTE ex10(1, 'a');
PREPARE ex11(unknown) AS SELECT id FROM ex WHERE $1 = id;
EXECUTE ex11('1');
PREPARE ex12(unknown, unknown) AS SELECT $2::int;
PREPARE ex13 AS SELECT EXISTS (SELECT $1);
EXECUTE ex13('a');
PREPARE ex14 AS SELECT $1, id FROM ex ORDER BY t LIMIT 1;
EXECUTE ex14('a');
PREPARE ex15 AS INSERT INTO ex (id) SELECT $1 FROM ex ORDER BY t LIMIT 1;
EXECUTE ex15(5);
PREPARE ex16 AS (SELECT $1 FROM ex ORDER BY t LIMIT 1) UNION ALL SELECT 7;
EXECUTE ex16(6);
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
INSERT INTO ex (id, ts) (VALUES (7, NULL), (8, '2020-01-01'));
INSERT INTO ex (id, ts) VALUES (9, NULL), (10, '2020-01-01') LIMIT 1;
VALUES (NULL), ('a');
VALUES (NULL) UNION SELECT 1;
EXPLAIN SELECT $1::int;
CREATE TABLE ex_p AS SELECT $1::int;
SELECT ~ 1 + 1, ~5 * 2, @ -5 + 3, @ 3 - 5, |/ 9 + 16, ||/ 27 - 19, ~ 1 & 3, - - 2 ^ 2, - + 2 ^ 2, -2 ^ 2, - 2::int8, - 9223372036854775808;
SELECT count(*) FROM (VALUES (1), (-4)) v (a) WHERE @ a + 3 < 2;
SELECT -a ^ 2, - a * 2 - a, ~ a + 1 = 1 FROM (VALUES (3)) v (a);
BEGIN;
CREATE TABLE ex_cursor (a int PRIMARY KEY, b text);
INSERT INTO ex_cursor VALUES (1, 'x'), (2, 'y'), (3, 'z');
DECLARE ex_of_rows CURSOR FOR SELECT * FROM ex_cursor ORDER BY a FOR UPDATE;
UPDATE ex_cursor SET b = 'new' WHERE a = 2;
SELECT 1;
SELECT 2;
FETCH ALL ex_of_rows;
ROLLBACK;

-- A clock tells the time before a wait as well as behind it.
SELECT c2 - c1 >= interval '50 ms' FROM (SELECT clock_timestamp() c1, pg_sleep(0.06), clock_timestamp() c2) s;
SELECT c2 - c1 >= interval '50 ms' FROM (SELECT clock_timestamp() c1, (SELECT pg_sleep(0.06)), clock_timestamp() c2) s;
-- absent: setseed
SELECT setseed(0.5);
SELECT random() < 2, pg_sleep(0), random() < 2;
SELECT pg_sleep(0)::text, pg_sleep(0)::varchar(3), cast(pg_sleep(0) AS name), coalesce(pg_sleep(0)::text, 'x');
SELECT pg_sleep(0)::int;
SELECT count(*) FROM generate_series(1, 3) GROUP BY (1);
SELECT g % 2, count(*) FROM generate_series(1, 3) g GROUP BY (1) ORDER BY ((1));
SELECT -g AS h FROM generate_series(1, 3) g ORDER BY (h);
SELECT g FROM generate_series(1, 3) g ORDER BY 2147483648;
SELECT g FROM generate_series(1, 3) g ORDER BY 2147483647;
SELECT g FROM generate_series(1, 3) g ORDER BY -2147483648;
SELECT default;
SELECT ARRAY[[[[[[[1]]]]]]];
-- A field of a value, and a parameter that the lower end of a range determines.
SELECT (pg_walfile_name_offset('0/1000028')).file_offset + 1 AS next;
-- absent: all fields of a value
SELECT (pg_walfile_name_offset('0/1000028')).*;
-- absent: all fields of a value
SELECT (t).* FROM (VALUES (1, 'x')) t (a, b);
-- absent: whole rows as values
SELECT (t).nosuch FROM (VALUES (1, 'x')) t (a, b);
PREPARE ranged AS SELECT $1 BETWEEN 1 AND $2, 3 NOT BETWEEN SYMMETRIC $3 AND $1;
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'ranged';
EXECUTE ranged (2, 3, 4);
DEALLOCATE ranged;
-- IN compares with an array where one type fits several constants, and else each by itself.
CREATE TABLE listed (k int, v varchar(3), t text, c char(3), s smallint, f float4);
INSERT INTO listed VALUES (1, 'a', 'a', 'a', 2, 1.5), (2, 'a ', 'a ', 'a', 3, 2);
SELECT k FROM listed WHERE v IN ('a'::char(3)) ORDER BY k;
SELECT k FROM listed WHERE v NOT IN ('a'::char(3)) ORDER BY k;
SELECT k FROM listed WHERE c IN ('a '::text) ORDER BY k;
SELECT k FROM listed WHERE v IN ('a'::char(3), 'b') ORDER BY k;
SELECT k FROM listed WHERE t IN ('a', 'b'::varchar) ORDER BY k;
SELECT k FROM listed WHERE s IN (2.5, '1.5') OR s IN ('2', 2.5) ORDER BY k;
SELECT k FROM listed WHERE k NOT IN ('2.5', 2.5) ORDER BY k;
SELECT k FROM listed WHERE k IN (1, 2.5, '2.5') ORDER BY k;
SELECT k FROM listed WHERE k IN (k + 0.5, '1.5') ORDER BY k;
SELECT k FROM listed WHERE k IN (1, 5000000000) OR s IN (3, 5000000000) ORDER BY k;
SELECT k FROM listed WHERE k IN (s - 1, 7, 8) ORDER BY k;
SELECT k FROM listed WHERE '1.5' IN (k, f) ORDER BY k;
SELECT k FROM listed WHERE '1.5' IN (f, 7, 2.5) ORDER BY k;
SELECT k FROM listed WHERE f IN (1.5, 2.5::float8) ORDER BY k;
SELECT 2 IN (2.5, '1.5'), 2 IN (NULL, 2), 3 IN (NULL, 2), 'a' IN ('b', 'a'), ARRAY[1] IN (ARRAY[1], ARRAY[2]), 1 NOT IN (2, 3.5);
-- Comparisons do not chain.
SELECT 1 < 2 = ANY (ARRAY[true]);
SELECT k < 5 = ALL (ARRAY[true]) FROM listed;
SELECT (1 < 2) = ANY (ARRAY[true]), 1 + 1 = ANY (ARRAY[2]);
-- "char" becomes text by itself, whatever stands beside it but text.
SELECT "char" 'a' || 1.5, "char" 'a' || true, '\x41'::bytea || 'a'::text, 'a'::varchar || '\x41'::bytea, 1 || "char" 'b', "char" 'b' || '\x41'::bytea;
SELECT "char" 'a' || "char" 'b';
SELECT "char" 'a' || 'x';
SELECT '\x41'::bytea || 1;
-- Edges.
SELECT make_timestamp(2020, 2, 1, 0, 2147483647, 9007199254740993);
SELECT make_timestamp(2020, 2, 1, 2147483647, 0, 0);
SELECT left('ABC', -2147483648), right('ABC', -1);
SELECT log(-1, 'NaN'), log(0, 'NaN'), log('Infinity', 0.5), log('Infinity', 'Infinity'::numeric), log(2.0, 'Infinity');
SELECT log('Infinity'::numeric, 0);
SELECT extract(millennium FROM date '0001-01-01 BC') AS m, extract(millennium FROM date '1001-01-01 BC') AS n, extract(century FROM date '0001-01-01 BC') AS c;
SELECT date_part('dow', date '5874897-12-31');
SELECT date_part('hour', date '2020-01-01'), date_part('epoch', date 'infinity');
SELECT current_schema 'x';
CREATE SEQUENCE bounded_later;
SELECT nextval('bounded_later'), nextval('bounded_later'), nextval('bounded_later');
ALTER SEQUENCE bounded_later MAXVALUE 2;
ALTER SEQUENCE bounded_later MAXVALUE 9 MINVALUE 4 START 5;
ALTER SEQUENCE bounded_later MAXVALUE 2 RESTART 1;
SELECT nextval('bounded_later');
-- Logarithms, and places far from the point.
SELECT ln(1.5), log(1.5), log(2, 1.5), ln(1.25), log(1.11), log(7, 1.9999), ln(1.1), ln(1.1000001), ln(0.8999999999999999999999);
SELECT ln(22100.5), log(29999.5), log(3, 25000), ln(150000000.5), ln(0.00004539), log(1.0000000001, 7), ln(1.0), log(2, 1);
SELECT power(1.5, 0.3), ln(9999.0), ln(10000.0), log(99999999.0), log(0.0001), ln('3.72e-44'::numeric), log('2.7e43'::numeric);
SELECT min_scale('1e-3000'::numeric), length(trim_scale('1e-3000'::numeric)::text), min_scale('1e-16383'::numeric);
SELECT round('1e-3000'::numeric, 5000) = 0, trunc('1e-3000'::numeric, 5000) = 0, scale(round(1.5, 2147483647)), scale(trunc(1.5, 16384));
SELECT round('1e131071'::numeric, -131072), trunc('1e131071'::numeric, -2147483648), round('9e131071'::numeric, -131073);
SELECT round('9e131071'::numeric, -131072);
SELECT round('5e100'::numeric, -101) = '1e101', round('4e100'::numeric, -101), trunc('9e100'::numeric, -100) = '9e100', trunc('9e100'::numeric, -101);
SELECT round(5.5, -1), round(4.4, -1), round(99.5, -2), round(99.5, -3), round(1.5, -2147483648), round(0.00, -5), round(-55, -2);
-- Arrays keep where they begin.
CREATE TABLE ex_arrays (id int, a int[], v int);
INSERT INTO ex_arrays VALUES (1, '[2:4]={7,8,9}', 1), (2, '{}', NULL), (3, NULL, 3), (4, NULL, NULL), (5, '[0:0]={5}', NULL);
SELECT id, a || v, v || a, array_append(a, v), array_prepend(v, a), a || a, a || '{1,2}', array_cat('{1,2}', a) FROM ex_arrays ORDER BY id;
UPDATE ex_arrays SET a = a || 9;
SELECT id, a, a[2], array_lower(a, 1), array_upper(a, 1) FROM ex_arrays ORDER BY id;
SELECT '{}'::int[] || '[2:4]={7,8,9}', '[2:4]={7,8,9}'::int[] || '{}', '{{1,2}}'::int[] || '{}';
SELECT trim_array('[2:4]={7,8,9}'::int[], 1), trim_array('[2:4]={7,8,9}'::int[], 0), trim_array('[2:4]={7,8,9}'::int[], 3);
SELECT trim_array('[3:4][5:6]={{1,2},{3,4}}'::int[], 1), trim_array(array[[1,2],[3,4]], 2), trim_array('{}'::int[], 0);
SELECT trim_array('[2:4]={7,8,9}'::int[], 4);
SELECT trim_array('{}'::int[], 1);
SELECT array_append('[2147483645:2147483646]={1,2}'::int[], 3);
SELECT array_prepend(3, '[-2147483648:-2147483647]={1,2}'::int[]);
SELECT '[2147483647:2147483647]={1}'::int[];
SELECT array_append(array[[1]], 1);
SELECT array_append(NULL::int[], NULL), array_prepend(NULL, NULL::text[]), array_append(NULL::int[], 4), array_cat(NULL::int[], NULL);
SELECT array_fill(NULL::int, array[2]), array_fill(NULL::text, array[2], array[3]), array_fill(NULL::int, '{}'), array_fill(1, array[2, 0]);
SELECT id, array_fill(v, array[2]), pg_typeof(array_fill(v, array[2])) FROM ex_arrays ORDER BY id;
SELECT array_fill(NULL, array[2]);
SELECT array_fill(1, array[2], array[2147483647]);
SELECT '{\null}'::text[], '{n\ull,null,"null", null , nul\l }'::text[], array_to_string('{\null,null}'::text[], ',', '!');
-- LIKE with ANY and ALL.
SELECT 'abc' LIKE ALL (array['a%', '%c']), 'abc' NOT LIKE ALL (array['a%', 'b%']), 'abc' ILIKE ALL (array['A%', '%C']), 'abc' NOT ILIKE ALL ('{A%}');
SELECT 'abc' LIKE ANY (array['b%', '%c']), 'abc' NOT LIKE ANY (array['a%', 'b%']), 'abc' ILIKE ANY ('{A%}'), 'abc' LIKE SOME ('{a%}'), 'abc' NOT ILIKE ANY ('{A%}');
SELECT 'abc' LIKE ALL (NULL::text[]), 'abc' LIKE ALL ('{}'), 'abc' NOT LIKE ANY ('{}'::text[]), NULL LIKE ALL (array['a']), 'abc' NOT LIKE ALL (array['b', NULL]);
SELECT 'abc' LIKE ALL (SELECT t || '%' FROM ex), 'abc' NOT LIKE ALL (SELECT 'x'), 'abc' LIKE ANY (VALUES ('x'), ('%b%')), 'abc' LIKE ANY (WITH w AS (SELECT 'a%') SELECT * FROM w);
SELECT 'a' || 'b' LIKE ALL ('{ab}'), NOT 'a' LIKE ALL ('{a}'), 'a' LIKE ALL ('{a}') = true, 'a' LIKE ALL ('{a}') AND 'b' LIKE ANY ('{b}');
SELECT id FROM ex WHERE t LIKE ANY (array['p%', 'z']) AND v NOT LIKE ALL ('{x,y}') ORDER BY id;
SELECT 'a' LIKE ANY (array['a']) ESCAPE 'x';
SELECT 'a' LIKE ALL array['a'];
SELECT 'a' LIKE 'a' LIKE ALL ('{a}');
SELECT 'a' LIKE ALL ('{a}') LIKE 'b';
SELECT 'a' LIKE ALL ('a', 'b');
SELECT 1 LIKE ALL (array[1]);
CREATE VIEW ex_like AS SELECT id FROM ex WHERE t LIKE ALL (array['p', '%']) OR t NOT LIKE ANY (SELECT '%');
SELECT * FROM ex_like;
CREATE TABLE ex_liked (t text CHECK (t NOT LIKE ALL (array['a%', 'b%'])));
INSERT INTO ex_liked VALUES ('c');
INSERT INTO ex_liked VALUES ('ab');
-- Literals with escapes: bytes that make characters together, halves of characters, and what is none.
SELECT E'\xc3\xa4', E'\303\244ä\501', E'\x41\x4\xg\101\1011', E'it''s \'so\'\\', E'a\bb\fc\nd\re\tf\vg'::bytea;
SELECT E'\u00e4\U0001f600', E'\ud83d\ude00', E'\U0000D83D\ude00', U&'\D83D\DE00', U&'!d83d!de00' UESCAPE '!';
SELECT E'ab' -- it's
'c\x41' '\u0042';
SELECT E'ab' -- it's
  'c\x41'
'\u0042', U&'a''' -- it's
'\0041', U&'a'
'!0041' UESCAPE '!', 'a'
'\x41';
SELECT E'\xff';
SELECT E'ab\xc3';
SELECT E'\377';
SELECT E'\400';
SELECT E'\x00';
SELECT E'\xe2\x28\xa1';
SELECT E'\xed\xa0\x80';
SELECT E'ab\u0000cd';
SELECT E'ab\ud800';
SELECT E'ab\ud800cd';
SELECT E'ab\ud800\ud801';
SELECT E'ab\udc00cd';
SELECT E'ab\u12 cd', 1;
SELECT E'ab\U1234567 cd', 1;
SELECT E'ab\U00110000cd';
SELECT U&'ab\D83D', 1;
SELECT U&'ab'
'c\zz', 1;
SELECT U&'ab\+110000';
SELECT 'a' LIKE E'a\xff';
SET application_name = E'\xff';
INSERT INTO nosuch VALUES (E'\xff');
ALTER ROLE postgres SET my.x = E'\ud800';
-- Lists of columns that are empty, and what NOT EXISTS is called.
SELECT EXISTS (SELECT FROM ex WHERE id = 1);
CREATE VIEW ex_not AS SELECT NOT EXISTS (SELECT 1), EXISTS (SELECT 1);
SELECT "?column?", "exists" FROM ex_not;
DROP VIEW ex_not;
-- Pieces of literals with escapes: each has its own.
SELECT E'x'
'\'; drop table ex; --', E'a'
  'it\'s -- ', 5;
SELECT E'\x4'
'1' = E'\x041', E'\1'
'01' = E'\x0101', E'\xc3'
'\xa4';
SELECT E'\u00'
'e4';
SELECT E'\ud83d'
'\ude00';
SELECT count(*) FROM ex;
SELECT interval(0) E'1.6 s', interval(0) $$1.6 s$$, interval(0) U&'1.6 s', interval(0) '1.6 s';
SELECT length(regexp_replace(repeat('a', 1000), 'a', repeat('\&', 100), 'g'));
SELECT length(regexp_replace(repeat('a', 1000000), 'a+', repeat('\&', 100000)));
-- absent: normalize()
SELECT normalize('a', NFC);
-- absent: normalize()
SELECT normalize('a');
-- What matches patterns, and what OPERATOR names, binds as any other operator does.
CREATE TABLE ex_pq (a int, b text);
INSERT INTO ex_pq VALUES (6, 'ab'), (3, 'xab'), (8, 'b');
SELECT a FROM ex_pq WHERE a OPERATOR(pg_catalog.&) 3 | 8 = 10;
SELECT a FROM ex_pq WHERE a OPERATOR(pg_catalog.-) 2 & 1 = 1;
CREATE VIEW ex_pqv AS SELECT a OPERATOR(pg_catalog.&) 3 | 8 AS v FROM ex_pq;
SELECT v FROM ex_pqv ORDER BY v;
DROP VIEW ex_pqv;
ALTER TABLE ex_pq ADD CHECK (a OPERATOR(pg_catalog.&) 3 | 8 > 3);
SELECT 'ab' ~ 'a' || 'b', 'ab' ~~ 'a' || '%', 'ab' !~ 'a' || 'b', 'ab' !~~ 'a' || '%';
SELECT 'aB' ~* 'A' || 'b', 'aB' !~* 'A' || 'b', 'aB' ~~* 'A' || '%', 'aB' !~~* 'A' || '%';
SELECT 'a' OPERATOR(pg_catalog.~) 'a' || 'b';
SELECT b, b ~ 'x' || b FROM ex_pq ORDER BY a;
SELECT a OPERATOR(pg_catalog.=) a || 'x' FROM (SELECT 'a'::text a) q;
SELECT 6 OPERATOR(pg_catalog.&) 3 | 8, 3 OPERATOR(pg_catalog.-) 2 & 1;
SELECT a FROM ex_pq WHERE b ~ 'SECRET' || 'BLOCK';
SELECT NOT 'ab' ~ 'c' || 'd';
SELECT 'a' ~ '1' || 1 + 1;
SELECT 2 OPERATOR(pg_catalog.>) 1 | 4;
SELECT 1 OPERATOR(pg_catalog.<) 2 || 'a', 1 OPERATOR(pg_catalog.+) 2 || 'a';
SELECT 'ab' ~ 'a' = 'ab' ~ 'a', 'ab' ~ 'a' IS NOT NULL, 'ab' ~ 'a' AND true;
SELECT 'ab' ~ ANY (ARRAY['x'] || ARRAY['a']), 'ab' !~~ ALL (SELECT 'x%' UNION SELECT 'y%');
SELECT 'ab' ~ SOME (ARRAY['x']) = false, 'ab' ~~* ANY ('{A%}'), 'ab' ~ ALL (CASE WHEN true THEN '{a,b}'::text[] END);
SELECT 'ab' LIKE 'a' || '%', 'ab' || 'c' ~ 'bc' AND 'a' = 'a', 1 + 1 || '' ~ '2';
DROP TABLE ex_pq;
SELECT timestamp '2020-01-01' AT TIME ZONE interval '2 hours', timestamptz '2020-01-01 00:00+00' AT TIME ZONE interval '-02:30:15.9';
SELECT timestamp 'infinity' AT TIME ZONE interval '1 day', timezone('UTC', timestamp '2020-01-01');
SELECT timestamptz '2020-01-01 00:00+00' AT TIME ZONE interval '1 day 2 hours';
SELECT timestamp '294276-12-31 23:00' AT TIME ZONE interval '-2 hours';
SELECT date_trunc('year', timestamp '4714-11-24 BC');
SELECT date_trunc('millennium', timestamp '4713-01-01 BC');
SELECT date_trunc('century', timestamp '294276-12-31 23:59:59.999999'), date_trunc('year', timestamp '-infinity');

-- Expressions of the SQL standard.
SELECT substring('hello', '2', '3'), substring('hello' FROM '2' FOR '3'), substring('abcdef', 'a#"b#"%', '#');
SELECT substring('abcdef' FROM '%#"(b|c)d#"_+' FOR '#'), substring('foobar' SIMILAR '%#"o_b#"%' ESCAPE '#');
SELECT substring('abcdefg' FROM 'a#"%#"x|g' FOR '#'), substring('abc' FROM 'ab#"c' FOR '#'), substring('a#c' FROM 'a#%' FOR '');
SELECT substring('abcabc' FROM '(abc){2}' FOR '#'), substring('aXb' FROM 'a[%_]b' FOR '#'), substring('a"c' FROM 'a[#"]c' FOR '#');
SELECT substring('abc' FROM '#"a#"b#"c' FOR '#');
SELECT substring('abc' FROM 'a%' FOR 'xx');
SELECT substring('hello', 2, '3'), substring('hello', '2', 3), substring('hello'::bytea, '2', 3), substring('hello' FOR '2');
SELECT substring('Thomas' SIMILAR 'Tho');
SELECT similar_to_escape('a.b^c$d|e*f?{2}(g)'), similar_escape('a%', NULL), similar_to_escape('a%', NULL), similar_to_escape('a[#]b]%', '#');
SELECT 'abc' SIMILAR TO 'a%', 'abc' NOT SIMILAR TO 'a%', 'abc' SIMILAR TO 'a#%' ESCAPE '#', 'abc' SIMILAR TO '(b|c)%', 'abc' SIMILAR TO NULL;
SELECT 'abc'::char(5) SIMILAR TO 'abc', 'abc'::name SIMILAR TO 'abc', 'abc' SIMILAR TO 'abc' ESCAPE '';
SELECT 1 SIMILAR TO '1';
-- Which of several functions is meant.
SELECT pg_typeof(x), count(*) FROM generate_series('2020-01-01', '2020-01-03'::date, '1 day') x GROUP BY 1;
SELECT pg_typeof(x), count(*) FROM generate_series('2020-01-01'::timestamp, '2020-01-03'::date, '1 day') x GROUP BY 1;
SELECT pg_typeof(x), count(*) FROM generate_series(1, '3') x GROUP BY 1;
SELECT generate_series('1', '3');
SELECT * FROM generate_series(1.5::float8, 3);
SELECT unnest('{1}');
SELECT unnest(1);
SELECT generate_subscripts('{1}', 1);
SELECT 'lower'::regproc;
PREPARE choice AS SELECT to_char($1, 'YYYY');
-- VALUES as a value, and numbers with several signs.
SELECT (VALUES (1)), 1 = (VALUES (1)), coalesce((VALUES (NULL::int)), 5);
SELECT (VALUES (1, 2));
SELECT values(1);
SELECT pg_typeof(-(-2147483648)), - -2147483648, -(-5), -(-9223372036854775808), - - -2147483648;
SELECT to_char('2020-01-01', 'YYYY');
SELECT age('2020-01-01');
-- absent: the type time with time zone
SELECT time '10:00' AT TIME ZONE 'UTC';
