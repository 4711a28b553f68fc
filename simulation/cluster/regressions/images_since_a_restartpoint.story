# A promoted standby counted page images from its last restartpoint, though its log had a later checkpoint.
# The old primary began redo at that one, and met a page torn by a power cut, and no image of it.
seed 205231
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
6 clients work for 5991 ms
commits wait for standbys 'FIRST 2 (n3, n2, n1)'
switched on: large, copy, standby reads, held snapshots, archives
at 1547 ms stop node 0 fast
at 2322 ms promote the best of nodes 1, 2, 3
at 2959 ms switch the segment on node 3
at 3118 ms write 603 kB on node 3
at 3183 ms switch the segment on node 3
at 3303 ms switch the segment on node 3
at 3421 ms promote node 1
at 3476 ms let node 0 follow the primary
at 3827 ms write 669 kB on node 1
at 3874 ms wait for standbys 'ANY 1 (n0, n2)'
at 3956 ms switch the segment on node 1
at 3966 ms drop a table on node 1 while node 2 reads it
at 4991 ms cut the power of node 0 with seed 339743
