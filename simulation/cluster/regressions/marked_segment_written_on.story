# Durable log was lost, and a power cut took the page that told of it. A segment with a mark for the archive
# was written on, and went there half written.
seed 206778
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
5 clients work for 8278 ms
commits wait for standbys 'ANY 1 (n1)'
switched on: savepoints, large, standby reads, tokens, held snapshots, archives
at 7219 ms kill node 0
at 7220 ms promote node 1
at 7502 ms kill node 2
at 7670 ms wait for standbys ''
at 7757 ms checkpoint on node 1
at 7865 ms let the disk of node 1 take up to 7595 us for a call for 800 ms
at 7925 ms checkpoint on node 1
at 7963 ms switch the segment on node 1
at 8033 ms kill node 1
at 8034 ms let node 1 lose its log from 1712 bytes before its newest page on
at 8081 ms start node 1
at 8094 ms cut the power of node 1 with seed 236952
at 8158 ms start node 1
