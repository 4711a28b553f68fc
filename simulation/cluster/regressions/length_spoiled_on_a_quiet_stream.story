# A record whose length a disk had changed seemed to go on behind all that had come, and nothing came any more:
# redo waited for its rest, with whole records behind its begin, until somebody wrote.
seed 1795818191769
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 2
2 clients work for 8792 ms
commits wait for standbys 'FIRST 1 (n2)'
switched on: copy, reinsert, weak levels, cancelled waits, standby reads, tokens, confirmed reads, held snapshots, archives, copied slots, collisions
at 1261 ms write 36 kB on node 0
at 1264 ms write 32 kB on node 0
at 1271 ms cut the power of node 0 with seed 865455
at 1701 ms checkpoint on node 0
at 1710 ms stop node 1 fast
at 1921 ms start node 0
at 2019 ms start node 1
at 2866 ms stop node 3 fast
at 3014 ms write 146 kB on node 0
at 3130 ms switch the segment on node 0
at 3181 ms checkpoint on node 0
at 3296 ms start node 3
at 3901 ms set on node 2 wal_sender_timeout = 2s
at 4396 ms wait for standbys 'ANY 1 (n1)'
at 4803 ms cut the power of nodes 0, 1 at the next answer to a commit with seed 785827
at 4981 ms start node 1
at 5478 ms promote node 1
at 5684 ms let node 3 follow the primary
at 5703 ms wait for standbys 'ANY 1 (n0, n3, n2)'
at 5783 ms let node 2 follow the primary
at 5947 ms wait for standbys 'FIRST 1 (n3, n2)'
at 6249 ms cut node 0 off from node 1 one way for 917 ms
at 6474 ms rewind node 0 to node 1
at 7665 ms pause replay on node 2
at 7685 ms write 105 kB on node 1
at 7792 ms spoil a record that node 2 has not replayed with seed 965524
