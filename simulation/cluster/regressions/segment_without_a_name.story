# A server that was killed just when it had made a segment of its log did not make the name durable at its next
# start, and told all that it received there to be durable.
seed 112
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
4 clients work for 8637 ms
commits wait for standbys 'FIRST 1 (n2, n1, n3)'
switched on: savepoints, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, disappearing clients, standby reads, tokens, confirmed reads, kills, freezes, paused replay, slots, full disks, cascades, old primaries, blackouts, faults at answers, cut off primaries, laggards, held snapshots, standbys switched to one behind, twin promotions, broken clones, unheeded snapshots, rests
at 579 ms create slot kept0 on node 3
at 901 ms drop a table on node 0 while node 2 reads it
at 1146 ms set on node 1 hot_standby_feedback = off
at 1146 ms set on node 2 hot_standby_feedback = off
at 1146 ms set on node 3 hot_standby_feedback = off
at 1147 ms set on node 1 max_standby_streaming_delay = 20ms
at 1147 ms set on node 2 max_standby_streaming_delay = 20ms
at 1147 ms set on node 3 max_standby_streaming_delay = 20ms
at 1953 ms freeze node 2 for 1153 ms
at 2656 ms checkpoint on node 0
at 2676 ms write 16 kB on node 0
at 2676 ms write 22 kB on node 0
at 2686 ms stop node 0 fast
at 3072 ms create slot left3072 on node 0
at 3073 ms set on node 0 max_slot_wal_keep_size = 1MB
at 3082 ms write 360 kB on node 0
at 3183 ms switch the segment on node 0
at 3193 ms checkpoint on node 0
at 3277 ms write 410 kB on node 0
at 3329 ms start node 0
at 3331 ms kill node 0
at 3390 ms switch the segment on node 0
at 3403 ms checkpoint on node 0
at 3491 ms write 548 kB on node 0
at 3581 ms switch the segment on node 0
at 3591 ms checkpoint on node 0
at 3628 ms write 346 kB on node 0
at 3674 ms switch the segment on node 0
at 3691 ms checkpoint on node 0
at 3701 ms start node 0
at 3763 ms drop slot left3072 on node 0
at 3764 ms set on node 0 max_slot_wal_keep_size = -1
at 3998 ms set on node 1 hot_standby_feedback = on
at 3998 ms set on node 2 hot_standby_feedback = on
at 3998 ms set on node 3 hot_standby_feedback = on
at 3999 ms set on node 1 max_standby_streaming_delay = 700ms
at 3999 ms set on node 2 max_standby_streaming_delay = 700ms
at 3999 ms set on node 3 max_standby_streaming_delay = 700ms
at 4385 ms wait for standbys 'ANY 1 (n1)'
at 4385 ms checkpoint on node 1
at 4746 ms cut the power of nodes 0, 1 at the next answer to a read with seed 781718
at 4964 ms start node 1
at 5316 ms promote node 1
at 5371 ms let node 2 follow the primary
at 5488 ms let node 1 follow the primary
at 5538 ms wait for standbys 'FIRST 1 (n2)'
at 5615 ms let node 3 follow the primary
at 5641 ms wait for standbys 'FIRST 2 (n0, n3)'
at 5641 ms checkpoint on node 1
at 5824 ms cut the power of nodes 1, 0, 3 at the next answer to a commit with seed 387387
at 5928 ms start node 0
at 6038 ms start node 3
at 6411 ms promote node 3
at 6477 ms wait for standbys 'ANY 1 (n0)'
at 6487 ms set on node 1 synchronous_standby_names = ANY 1 (n0)
at 6497 ms let node 0 follow node 3
at 6507 ms let node 1 follow node 3
at 6607 ms let node 2 follow the primary
at 6649 ms wait for standbys 'ANY 1 (n2)'
at 6777 ms cut node 3 off from node 1 both ways for 2500 ms
at 6781 ms let node 1 follow the primary
at 6785 ms let node 0 follow the primary
at 6822 ms clone node 0 from node 1
at 6829 ms cut the power of nodes 3 at the next answer to a commit with seed 690211
at 6874 ms kill node 3
at 6874 ms let node 0 follow node 1
at 6957 ms let node 3 follow the primary
at 7718 ms clone node 1 from node 3
at 7853 ms promote node 1
at 8099 ms let clients rest for 979 ms
at 8127 ms let 2466 kB a second through between node 1 and node 0 for 1170 ms
at 8132 ms clone node 0 from node 1
at 8162 ms write 221 kB on node 1
at 8188 ms checkpoint on node 1
at 8201 ms let node 0 follow the primary
at 8343 ms wait for standbys ''
at 8354 ms let node 2 follow the primary
at 8423 ms start node 3
at 8424 ms let node 1 follow the primary
at 8621 ms kill node 0
at 8651 ms let node 3 follow the primary
at 8759 ms start node 0
at 8799 ms let clients rest for 831 ms
at 8850 ms freeze node 3 for 1440 ms
at 9042 ms cut the power of node 1 with seed 371890
at 9146 ms start node 1
at 9347 ms clone node 3 from node 1
at 9625 ms cut the power of node 1 with seed 136451
at 9813 ms start node 1
