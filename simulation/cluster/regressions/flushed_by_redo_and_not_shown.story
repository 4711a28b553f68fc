# Redo made log durable by itself, which the standby told its primary; pg_stat_wal_receiver showed less as flushed.
seed 341314
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
5 clients work for 3134 ms
commits wait for standbys 'FIRST 1 (n1, n3, n2)'
switched on: large, copy, reinsert, weak levels, cancelled waits, disappearing clients, standby reads, confirmed reads, slots of standbys, held snapshots, archives, copied slots, collisions, table reads, views
at 552 ms wait for standbys 'FIRST 1 (n3, n2)'
at 787 ms freeze node 3 for 2000 ms
at 1244 ms kill node 3
at 1868 ms start node 3
at 2134 ms drop a table on node 0 while node 2 reads it
