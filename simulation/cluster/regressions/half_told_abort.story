# A promotion with the log cut between the abort of a large transaction and what the state page says of it showed
# its rows: redo took the abort out of what is open, and the promotion took what the page lists for committed.
seed 39
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 1
7 clients work for 9661 ms
commits wait for standbys 'ANY 2 (n1, n2)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, standby reads, confirmed reads, slots of standbys, held snapshots, archives
at 598 ms cut the power of node 2 with seed 611826
at 1488 ms start node 2
at 2014 ms wait for standbys 'ANY 1 (n1)'
at 2174 ms delay bytes between node 0 and node 1 by 733 ms for 1466 ms
at 2777 ms promote node 1
at 5032 ms stop node 2 immediately
at 6008 ms start node 2
at 8661 ms promote node 2
