# After a power cut a standby was back before its old connection had timed out, and counted twice: a commit
# that two standbys must hold was acknowledged while one did.
seed 703
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
3 clients work for 4000 ms
commits wait for standbys 'FIRST 2 (n2, n1)'
switched on: 
at 1000 ms kill node 2
at 1083 ms cut the power of node 1 with seed 782163
at 1183 ms start node 1
at 3000 ms start node 2
