# A standby that archives all marked the segment in which a long record begins before that record was durable, lost its
# rest with the power, and cut the segment for a later timeline: its archive then had other bytes.
seed 38
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 1
3 clients work for 11150 ms
commits wait for standbys 'FIRST 1 (n1, n2)'
switched on: large, copy, reinsert, cancelled waits, timeouts, disappearing clients, standby reads, slots of standbys, archives
at 1019 ms let 8 sessions alone write on node 0 for 3326 ms
at 1560 ms hold a snapshot on node 3 for 2426 ms
at 1564 ms hold a snapshot on node 2 for 2426 ms
at 5545 ms let 406 kB a second through between node 0 and node 1 for 2000 ms
at 5565 ms log one record of 1771 kB on node 0
at 5846 ms kill node 2
at 6023 ms promote node 3
at 8358 ms start node 1
at 9971 ms let node 2 follow the primary
at 10150 ms cut the power of node 2 with seed 540132
