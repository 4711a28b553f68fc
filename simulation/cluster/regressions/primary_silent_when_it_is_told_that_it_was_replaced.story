# A standby told its primary that it was replaced; the primary lost power before it answered. The standby
# waited a minute, whatever wal_receiver_timeout is, and did not hear that it was to follow another primary.
seed 217401
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 12171 ms
commits wait for standbys 'FIRST 1 (n2, n1)'
switched on: 
at 8315 ms promote node 3
at 9435 ms kill node 3
at 9832 ms promote node 2
at 10779 ms promote node 0
at 11126 ms let node 3 follow the primary
at 11171 ms cut the power of node 0 with seed 708001
