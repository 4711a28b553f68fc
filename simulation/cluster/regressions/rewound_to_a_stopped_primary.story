# A server was rewound to a stopped primary that had been started as a standby, which said nothing of how new its
# pages are: it was consistent at the fork, with pages of behind it, and followed another branch.
seed 1795878758573
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
1 clients work for 11895 ms
commits wait for standbys 'ANY 1 (n1)'
switched on: slots of standbys, archives
at 5626 ms stop node 0 fast
at 5726 ms cut node 0 off from node 2 both ways for 2247 ms
at 5736 ms start node 0
at 6553 ms promote node 2
at 6924 ms stop node 2 fast
at 7661 ms start node 2
at 8142 ms start node 0
at 8170 ms kill node 2
at 8447 ms start node 0
at 8950 ms cut node 0 off from node 1 both ways for 2077 ms
at 9308 ms start node 0
at 9560 ms stop node 0 fast
at 9643 ms start node 0
at 10432 ms promote the best of nodes 1, 2
at 10623 ms let node 2 follow the primary
at 11038 ms start node 2
at 11397 ms cut the power of node 2 with seed 795788
at 11431 ms start node 2
at 11580 ms rewind node 0 to node 2
