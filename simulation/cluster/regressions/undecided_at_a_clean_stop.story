# A server that was stopped cleanly while commits of before its start were undecided wrote that none is, and its
# next start showed them; the standby that took its place lacked one.
seed 20041
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 2
6 clients work for 5177 ms
commits wait for standbys 'ANY 2 (n1, n2)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, standby reads, tokens, confirmed reads, slots of standbys, held snapshots
at 1852 ms cut the power of node 0 with seed 98480
at 2622 ms cut node 0 off from node 1 both ways for 2143 ms
at 2622 ms cut node 0 off from node 2 both ways for 2143 ms
at 2690 ms start node 0
at 2869 ms stop node 0 fast
at 3613 ms start node 0
at 4177 ms promote the best of nodes 3, 1
