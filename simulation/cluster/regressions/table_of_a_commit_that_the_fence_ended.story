# The fence ended the wait of a CREATE TABLE, which stood in the log all the same: readers of what is confirmed
# found the table, without the row that came with it.
seed 341439
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 1
node 4 follows node 1
3 clients work for 2705 ms
commits wait for standbys 'FIRST 2 (n1, n2)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, disappearing clients, standby reads, confirmed reads, slots of standbys, deadlocks, collisions, table reads
at 1174 ms wait for standbys 'ANY 1 (n3)'
at 1184 ms let node 3 follow node 0
at 1406 ms cut node 0 off from node 3 both ways for 1443 ms
at 1705 ms promote node 3
