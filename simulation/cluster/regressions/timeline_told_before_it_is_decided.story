# A server in the middle of a promotion told readers of the new timeline, which a crash undid: nobody has it.
seed 229672
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 1
3 clients work for 13562 ms
commits wait for standbys 'ANY 2 (n1, n2)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, disappearing clients, standby reads, tokens, confirmed reads, slots of standbys, held snapshots, copied slots, deadlocks, collisions
at 441 ms let 8 sessions alone write on node 0 for 3055 ms
at 967 ms hold a snapshot on node 3 for 2155 ms
at 1057 ms hold a snapshot on node 1 for 2155 ms
at 1062 ms hold a snapshot on node 2 for 2155 ms
at 4496 ms drop a table on node 0 while node 3 reads it
at 4669 ms wait for standbys 'ANY 1 (n2, n3, n1)'
at 6355 ms set on node 0 max_slot_wal_keep_size = 2MB
at 6364 ms write 621 kB on node 0
at 6465 ms switch the segment on node 0
at 6488 ms checkpoint on node 0
at 6556 ms write 335 kB on node 0
at 6650 ms switch the segment on node 0
at 6677 ms checkpoint on node 0
at 6753 ms switch the segment on node 0
at 6771 ms checkpoint on node 0
at 6823 ms write 597 kB on node 0
at 7459 ms let node 2 follow node 1
at 7609 ms let 677 kB a second through between node 0 and node 1 for 1500 ms
at 7664 ms write 449 kB on node 0
at 7909 ms kill node 0
at 9639 ms kill node 1
at 9640 ms kill node 3
at 9769 ms promote node 2
at 11135 ms clone node 3 from node 2
at 11678 ms kill node 2
at 12550 ms start node 2
at 12562 ms cut the power of node 2 with seed 281965
