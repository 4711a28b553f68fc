# A crashed primary whose own log was damaged started as a standby and followed, with pages of the lost log.
seed 7
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
5 clients work for 6000 ms
commits wait for standbys 'ANY 1 (n1, n2)'
switched on: kills, power cuts
at 500 ms checkpoint on node 0
at 1490 ms promote node 1
at 1500 ms let the disk of node 0 take up to 8000 us for a call for 800 ms
at 1520 ms write 400 kB on node 0
at 1560 ms checkpoint on node 0
at 1640 ms kill node 0
at 1641 ms let node 0 lose its log from 470000 bytes before its newest page on
at 2200 ms let node 0 follow the primary
at 2300 ms start node 0
