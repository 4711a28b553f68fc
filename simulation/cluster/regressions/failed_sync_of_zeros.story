# After a sync of the log had failed, the server that was started again wrote its pages once more, and not the
# zeros behind a switch: a power cut brought back what a recycled segment had there.
seed 202523
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
3 clients work for 8390 ms
commits wait for standbys 'ANY 1 (n2, n1)'
switched on: slots of standbys, archives
at 1490 ms stop node 0 fast
at 1958 ms promote the best of nodes 1, 2, 3
at 2388 ms let node 1 follow the primary
at 3803 ms switch the segment on node 3
at 3871 ms let a sync of the log of node 3 fail with seed 311200
at 4580 ms start node 3
at 4926 ms switch the segment on node 3
at 4979 ms checkpoint on node 3
at 5132 ms let a sync of the log of node 3 fail with seed 638747
at 5236 ms switch the segment on node 3
