# A report of a log that a promotion left was believed before it left it, and moved its slot only after slots had
# been taken back to where it was left: the slot kept log from behind the fork on.
seed 484901
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
node 4 follows node 0
2 clients work for 4444 ms
commits wait for standbys 'ANY 1 (n3)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, timeouts, disappearing clients, standby reads, tokens, confirmed reads, slots of standbys, held snapshots, collisions
at 841 ms wait for standbys 'FIRST 1 (n3, n1, n2)'
at 1109 ms freeze node 3 for 2000 ms
at 1365 ms kill node 3
at 1977 ms start node 3
at 2451 ms wait for standbys 'ANY 1 (n3)'
at 2451 ms set on node 4 synchronous_standby_names = ANY 1 (n3)
at 2461 ms let node 1 follow node 0
at 2461 ms let node 2 follow node 0
at 2461 ms let node 3 follow node 0
at 2651 ms let 465 kB a second through between node 0 and node 1 for 2000 ms
at 2651 ms let 465 kB a second through between node 0 and node 4 for 2000 ms
at 2671 ms log one record of 2134 kB on node 0
at 3370 ms promote node 4
at 3438 ms let node 1 follow node 4
at 3444 ms let node 2 follow node 4
