# A power cut behind a switch of the segment, and the new segment's begin lost though it was durable: redo made more pages
# anew than a start looked at where nothing seemed to lie behind the log's end, and the one that is newer was not among them.
seed 1796013250427
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 9036 ms
commits wait for standbys 'ANY 1 (n1, n2, n3)'
switched on: savepoints, large, ddl, copy, cancelled waits, timeouts, disappearing clients, standby reads, held snapshots, archives, collisions
at 876 ms cut node 0 off from node 1 both ways for 1284 ms
at 876 ms cut node 0 off from node 2 both ways for 1284 ms
at 876 ms cut node 0 off from node 3 both ways for 1284 ms
at 1015 ms promote node 1
at 1086 ms let node 3 follow the primary
at 1099 ms let node 2 follow the primary
at 1193 ms wait for standbys 'ANY 1 (n2, n3)'
at 1762 ms kill node 0
at 1844 ms write 564 kB on node 1
at 2145 ms write 659 kB on node 1
at 2180 ms let node 0 follow the primary
at 2256 ms checkpoint on node 1
at 2397 ms write 184 kB on node 1
at 2483 ms switch the segment on node 1
at 2538 ms checkpoint on node 1
at 2610 ms cut the power of node 1 with seed 518544
at 8036 ms let node 1 lose its log from 2321 bytes before its newest page on
