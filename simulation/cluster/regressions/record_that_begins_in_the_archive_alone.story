# A standby's archive ended within a record, and its upstream had removed the segment in which that begins: the standby
# asked for the record's page for ever instead of the segment in which it goes on.
seed 143
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
5 clients work for 7343 ms
commits wait for standbys 'ANY 1 (n2, n3, n1)'
switched on: large, ddl, copy, weak levels, timeouts, tokens, confirmed reads, archives, copied slots, rewinds
at 1467 ms wait for standbys 'FIRST 1 (n2, n3)'
at 1643 ms freeze node 2 for 2000 ms
at 1693 ms let clients rest for 869 ms
at 1977 ms kill node 2
at 2512 ms start node 2
at 3071 ms let node 2 follow node 0
at 3252 ms pause replay on node 2
at 3272 ms write 215 kB on node 0
at 3524 ms cut the power of node 2 with seed 269284
at 3624 ms start node 2
at 4556 ms let the disk of node 0 take up to 11036 us for a call for 487 ms
at 4575 ms checkpoint on node 0
at 4593 ms write 937 kB on node 0
at 5038 ms cut the power of node 0 with seed 924528
at 5068 ms start node 0
at 5292 ms let the disk of node 0 take up to 6581 us for a call for 516 ms
at 5344 ms write 550 kB on node 0
at 5347 ms checkpoint on node 0
at 5475 ms cut the power of node 0 with seed 454816
at 5533 ms start node 0
at 7211 ms kill nodes 0 at the next answer to a commit
