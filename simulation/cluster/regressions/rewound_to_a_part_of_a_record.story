# A server was rewound to a standby whose log ended in a record. It was taken to need all of that, followed the
# next primary, which had left before, and did not start again; nor may it have followed if it did need it.
seed 1795869433360
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
7 clients work for 10947 ms
commits wait for standbys 'ANY 2 (n2, n3)'
switched on: archives
at 1672 ms let 759 kB a second through between node 0 and node 3 for 2325 ms
at 1672 ms let 759 kB a second through between node 0 and node 2 for 2325 ms
at 1682 ms log one record of 1006 kB on node 0
at 2291 ms kill node 0
at 2462 ms promote node 3
at 4808 ms rewind node 3 to node 2
at 5950 ms start node 0
at 6127 ms kill node 2
