\set aid random(1, 100000 * :scale)
SELECT abalance FROM accounts WHERE aid = :aid;
