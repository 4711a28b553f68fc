# A full disk had kept entries from the ledger. The next event found room and wrote them with its own, and the log never
# said that they were written.
seed 451522
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 1
4 clients work for 8866 ms
commits wait for standbys 'FIRST 1 (n2)'
switched on: large, ddl, copy, reinsert, disappearing clients, standby reads, confirmed reads, slots of standbys, held snapshots, archives, copied slots, deadlocks, collisions
at 984 ms pause replay on node 2
at 1004 ms write 312 kB on node 0
at 1125 ms spoil a record that node 2 has not replayed with seed 573563
at 1225 ms kill node 0
at 1249 ms promote node 2
at 1724 ms start node 2
at 1874 ms promote node 3
at 2040 ms wait for standbys 'ANY 1 (n2, n1)'
at 2442 ms let node 2 follow the primary
at 3102 ms kill node 1
at 3233 ms start node 0
at 3829 ms write 372 kB on node 3
at 3948 ms switch the segment on node 3
at 3991 ms checkpoint on node 3
at 4091 ms write 324 kB on node 3
at 5727 ms fill the disk of node 3 for 2443 ms
