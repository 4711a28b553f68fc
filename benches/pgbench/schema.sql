-- Tables of the scripts; the sizes of rows are those of pgbench's own tables.
CREATE TABLE kv (k bigint PRIMARY KEY, v text NOT NULL);
CREATE TABLE hot (k integer PRIMARY KEY, n bigint NOT NULL);
CREATE TABLE branches (bid integer PRIMARY KEY, bbalance integer NOT NULL, filler text NOT NULL);
CREATE TABLE tellers (tid integer PRIMARY KEY, bid integer NOT NULL, tbalance integer NOT NULL, filler text NOT NULL);
CREATE TABLE accounts (aid integer PRIMARY KEY, bid integer NOT NULL, abalance integer NOT NULL, filler text NOT NULL);
CREATE TABLE history (tid integer, bid integer, aid integer, delta integer, mtime timestamp);
INSERT INTO hot VALUES (1, 0);
