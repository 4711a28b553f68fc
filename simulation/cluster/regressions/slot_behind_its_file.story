# A standby began behind its slot, whose file kept less than that: after a crash the next checkpoint took log
# that the standby had yet to be sent.
seed 200495
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
2 clients work for 6605 ms
commits wait for standbys 'ANY 1 (n1)'
switched on: savepoints, large, standby reads, tokens, confirmed reads, slots of standbys, archives
at 1415 ms start node 0
at 2164 ms kill node 0
at 2165 ms promote the best of nodes 1, 2, 3
at 2165 ms stop node 2 fast
at 2440 ms switch the segment on node 3
at 2452 ms let node 1 follow the primary
at 2564 ms wait for standbys 'ANY 1 (n1, n2)'
at 2581 ms drop a table on node 3 while node 2 reads it
at 2619 ms write 439 kB on node 3
at 2718 ms switch the segment on node 3
at 2751 ms checkpoint on node 3
at 2761 ms let node 2 follow the primary
at 2915 ms let node 0 follow the primary
at 4030 ms kill node 3
at 4708 ms start node 3
at 5095 ms stop node 0 fast
at 5374 ms checkpoint on node 3
at 5605 ms checkpoint on node 3
