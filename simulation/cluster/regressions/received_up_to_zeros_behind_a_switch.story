# What comes again ends in the zeros behind a switch, where no page begins: the standby ended there, again and again.
seed 224185
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
4 clients work for 2913 ms
commits wait for standbys 'FIRST 2 (n2, n3, n1)'
switched on: ddl, cancelled waits, held snapshots
at 516 ms stop node 0 immediately
at 987 ms promote the best of nodes 1, 2, 3
at 1442 ms let node 2 follow the primary
at 1476 ms wait for standbys 'FIRST 1 (n2)'
at 1540 ms pause replay on node 2
at 1560 ms write 300 kB on node 3
at 1594 ms clone node 0 from node 3
at 1798 ms spoil a record that node 2 has not replayed with seed 206642
at 1913 ms resume replay on node 2
