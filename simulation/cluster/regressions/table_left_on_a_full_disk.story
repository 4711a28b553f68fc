# A table whose creation failed on a full disk left its file on the primary: the log, full as well, was not
# told of its end, and nobody tried again.
seed 1795391309450
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
4 clients work for 5798 ms
commits wait for standbys 'FIRST 1 (n3)'
switched on: ddl, reinsert, timeouts, disappearing clients, standby reads, tokens, held snapshots
at 2276 ms promote node 3
at 2309 ms let node 2 follow node 3
at 3749 ms wait for standbys 'FIRST 1 (n2)'
at 4267 ms fill the disk of node 3 for 1278 ms
at 4677 ms switch the segment on node 3
at 4798 ms switch the segment on node 3
