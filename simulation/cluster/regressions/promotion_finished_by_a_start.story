# A start finished a promotion that was cut short, and the director took the node for a primary of timeline 1:
# its fence, and the twin of its history in the archive, made no sense then.
seed 1795352210858
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 1
6 clients work for 12500 ms
commits wait for standbys 'ANY 2 (n2, n1)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, disappearing clients, tokens, confirmed reads, kills, power cuts, freezes, network faults, paused replay, slots, reloads, full disks, clock jumps, cascades, wrong promotions, old primaries, slots of standbys, blackouts, faults at answers, torn streams, cut off primaries, laggards, held snapshots, archives, standbys switched to one behind, twin promotions, crashes in a row, unheeded snapshots, rests, waits, copied slots, failing syncs, deadlocks, collisions
at 637 ms let node 3 follow node 0
at 637 ms let node 1 follow node 0
at 647 ms wait for standbys 'ANY 1 (n3, n1)'
at 1426 ms freeze node 3 for 719 ms
at 2645 ms freeze node 1 for 798 ms
at 3943 ms stop node 1 fast
at 4020 ms write 369 kB on node 0
at 4112 ms switch the segment on node 0
at 4156 ms checkpoint on node 0
at 4282 ms start node 1
at 4584 ms checkpoint on node 0
at 4919 ms let the disk of node 0 take up to 5346 us for a call for 800 ms
at 4939 ms write 597 kB on node 0
at 4979 ms checkpoint on node 0
at 5165 ms kill node 0
at 5166 ms let node 0 lose its log from 1618 bytes before its newest page on
at 5263 ms start node 0
at 5845 ms kill node 0
at 5846 ms promote the best of nodes 1, 2, 3
at 5936 ms let node 2 follow the primary
at 5938 ms let node 1 follow the primary
at 6017 ms wait for standbys 'FIRST 1 (n1, n2)'
at 6209 ms let clients rest for 3000 ms
at 6209 ms set on node 3 plimsoll.fence_probe_interval = 300ms
at 6209 ms set on node 1 plimsoll.peers = ;
at 6219 ms let node 1 follow node 3
at 6226 ms start node 0
at 6432 ms let node 3 follow the primary
at 6582 ms promote node 0
at 7230 ms cut node 3 off from node 1 both ways for 900 ms
at 7230 ms cut node 0 off from node 1 both ways for 900 ms
at 7259 ms promote node 1
at 7414 ms clone node 0 from node 3
at 7940 ms stop node 3 immediately
at 8299 ms let node 3 follow node 1
at 8666 ms promote node 3
at 9425 ms clone node 3 from node 0
at 9426 ms clone node 1 from node 0
at 9694 ms let node 0 follow the primary
at 9776 ms set on node 1 hot_standby_feedback = off
at 9776 ms set on node 2 hot_standby_feedback = off
at 9776 ms set on node 3 hot_standby_feedback = off
at 9777 ms set on node 1 max_standby_streaming_delay = 0
at 9777 ms set on node 2 max_standby_streaming_delay = 0
at 9777 ms set on node 3 max_standby_streaming_delay = 0
at 9783 ms wait for standbys 'ANY 1 (n1, n2)'
at 9911 ms let clients rest for 710 ms
at 9966 ms let node 2 follow the primary
at 9992 ms wait for standbys 'FIRST 1 (n2)'
at 9992 ms checkpoint on node 0
at 10017 ms let node 1 follow the primary
at 10334 ms cut the power of nodes 0, 2 at the next answer to a commit with seed 9708
at 10511 ms start node 2
at 10616 ms cut the power of node 0 with seed 885323
at 10803 ms start node 0
at 11005 ms promote node 2
at 11052 ms wait for standbys 'ANY 1 (n0)'
at 11052 ms checkpoint on node 2
at 11123 ms let node 3 follow the primary
at 11375 ms kill nodes 2, 0 at the next answer to a commit
