# An old primary that crashed past a fork, and whose archive knew the fork by its restart, redid its own log up to
# the fork alone and followed: its pages were as new as the end of its log.
seed 1795304556506
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 2
3 clients work for 10653 ms
commits wait for standbys 'FIRST 1 (n1)'
switched on: savepoints, large, copy, disappearing clients, archives
at 5259 ms wait for standbys 'ANY 2 (n2, n3)'
at 6106 ms promote node 3
at 6200 ms let node 2 follow the primary
at 6390 ms wait for standbys 'ANY 1 (n2, n0)'
at 7678 ms let node 2 follow node 0
at 7892 ms write 676 kB on node 3
at 8281 ms kill node 3
at 9269 ms promote node 2
at 9760 ms let node 3 follow the primary
