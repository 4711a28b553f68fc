# A standby mended damaged log of an earlier timeline, and told that it cut all that it had of the later one when it
# followed the next.
seed 462617
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 11213 ms
commits wait for standbys 'ANY 1 (n1, n2)'
switched on: 
at 924 ms pause replay on node 2
at 944 ms write 144 kB on node 0
at 1161 ms kill node 0
at 4254 ms spoil a record that node 2 has not replayed with seed 919171
at 6501 ms let node 0 follow node 3
at 8072 ms promote node 0
at 9759 ms promote node 2
at 10020 ms start node 2
at 10295 ms promote the best of nodes 1, 3
at 10847 ms let node 2 follow the primary
