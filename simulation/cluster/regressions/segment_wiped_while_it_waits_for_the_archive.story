# A standby had a segment whole and no more than the beginning of a record at its end, and followed a promotion
# that left the log before that record: the segment was wiped from there on while it waited for the archive.
seed 200276
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
6 clients work for 3117 ms
commits wait for standbys 'FIRST 1 (n1)'
switched on: savepoints, large, copy, cancelled waits, timeouts, disappearing clients, confirmed reads, slots of standbys, archives
at 644 ms pause replay on node 1
at 758 ms let 1065 kB a second through between node 0 and node 2 for 2321 ms
at 758 ms let 1065 kB a second through between node 0 and node 1 for 2321 ms
at 768 ms log one record of 1407 kB on node 0
at 1988 ms promote node 2
at 2117 ms let node 1 follow the primary
