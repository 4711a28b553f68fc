\set key random(1, :keys)
\set value random(1, 1000000000)
INSERT INTO kv (k, v) VALUES (:key, :value) ON CONFLICT (k) DO UPDATE SET v = excluded.v;
