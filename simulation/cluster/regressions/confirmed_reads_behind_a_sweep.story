# An aborted large transaction was swept, and the standby took it for one that may still be open: what was pruned
# since hid all that was confirmed, and reads of that waited for the next commit.
seed 5013
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
3 clients work for 10069 ms
commits wait for standbys 'FIRST 2 (n1, n3, n2)'
switched on: large, ddl, copy, reinsert, timeouts, archives, copied slots
at 913 ms cut the power of node 3 with seed 223833
at 1254 ms isolate node 2 for 2312 ms
at 1731 ms start node 3
at 1927 ms cut the power of node 3 with seed 663027
at 2174 ms start node 3
at 3201 ms write 24 kB on node 0
at 3206 ms write 42 kB on node 0
at 3210 ms stop node 0 immediately
at 3696 ms start node 0
at 4369 ms freeze node 0 for 1835 ms
at 5165 ms wait for standbys 'ANY 2 (n3, n2)'
at 5776 ms kill node 0
at 5777 ms promote node 3
at 5960 ms let node 2 follow the primary
at 6135 ms wait for standbys ''
at 6149 ms wait for standbys 'FIRST 1 (n1, n2)'
at 6238 ms let node 1 follow the primary
at 6359 ms let node 3 follow the primary
at 6483 ms clone node 0 from node 3
at 7146 ms reset all connections of node 1
