# What comes again over damage ends with the mark: what lies behind must go before the first sync that counts.
seed 55
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 2
3 clients work for 8256 ms
commits wait for standbys 'FIRST 2 (n2, n1)'
switched on: savepoints, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, disappearing clients, standby reads, tokens, confirmed reads, slots of standbys, held snapshots, archives, copied slots, deadlocks, collisions
at 752 ms switch the segment on node 0
at 806 ms checkpoint on node 0
at 2858 ms let 8 sessions alone write on node 0 for 2758 ms
at 7218 ms spoil a record that node 2 has not replayed with seed 311842
at 7256 ms cut the power of node 2 with seed 311842
