# After a power cut a standby was back before its old connection had timed out, and counted twice: a commit
# that two standbys must hold was acknowledged while one did.
seed 60534
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
2 clients work for 4791 ms
commits wait for standbys 'FIRST 2 (n2, n1)'
switched on: 
at 1242 ms write 2039 kB on node 0
at 1657 ms let 1641 kB a second through between node 0 and node 2 for 2742 ms
at 1662 ms clone node 2 from node 0
at 3543 ms cut the power of node 1 with seed 782160
at 3791 ms start node 1
