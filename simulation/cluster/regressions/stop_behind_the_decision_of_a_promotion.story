# Stopped after a promotion was decided and before its recovery ended, it wrote a page ahead of minRecoveryPoint.
seed 208450
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 8578 ms
commits wait for standbys 'ANY 1 (n2)'
switched on: archives
at 575 ms cut the power of node 0 with seed 522070
at 4243 ms promote node 1
at 6234 ms start node 0
at 6829 ms let a sync of the log of node 1 fail with seed 309083
at 7578 ms stop node 1 fast
at 8400 ms start node 1
