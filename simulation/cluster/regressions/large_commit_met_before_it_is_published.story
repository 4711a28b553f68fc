# Who met a row of a large transaction after its commit was in the log and before it was published took it
# for settled, and told of it before standbys held it.
seed 92284
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
7 clients work for 4534 ms
commits wait for standbys 'FIRST 2 (n2, n3)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, disappearing clients, standby reads, tokens, confirmed reads, slots of standbys, held snapshots, archives, copied slots, deadlocks, collisions
at 466 ms wait for standbys 'ANY 1 (n2, n1)'
at 999 ms cut node 2 off from node 0 one way for 984 ms
at 3534 ms set on node 0 plimsoll.fence_probe_interval = 300ms
