# A commit was released by plimsoll.unconfirmed_timeout, and seen with a later one at off, which waits for
# nobody: the reader's position is no position of the first, and a promotion may leave it out.
seed 218305
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
2 clients work for 5497 ms
commits wait for standbys 'ANY 1 (n2, n3)'
switched on: savepoints, weak levels, collisions
at 922 ms create slot kept0 on node 0
at 2152 ms let a sync of the log of node 0 fail with seed 610371
at 2674 ms start node 0
at 3392 ms set on node 0 plimsoll.unconfirmed_timeout = 200ms
at 3552 ms cut node 0 off from node 2 both ways for 2361 ms
at 3552 ms cut node 0 off from node 3 both ways for 2361 ms
at 4497 ms promote the best of nodes 3, 2
