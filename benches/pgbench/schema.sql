-- Tables of the two scripts. Loaded by COPY, as many rows a transaction as --chunk says.
CREATE TABLE kv (k bigint PRIMARY KEY, v text NOT NULL);
CREATE TABLE branches (bid integer PRIMARY KEY, bbalance bigint NOT NULL, filler text NOT NULL);
CREATE TABLE tellers (tid integer PRIMARY KEY, bid integer NOT NULL, tbalance bigint NOT NULL, filler text NOT NULL);
CREATE TABLE accounts (aid integer PRIMARY KEY, bid integer NOT NULL, abalance bigint NOT NULL, filler text NOT NULL);
CREATE TABLE history (tid integer, bid integer, aid integer, delta integer, mtime timestamp);
