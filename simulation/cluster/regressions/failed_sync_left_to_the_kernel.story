# After a sync of the log had failed, the server that was started again took what the kernel showed of it for
# durable, and sent it on.
seed 24
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 8962 ms
commits wait for standbys 'FIRST 1 (n1, n2)'
switched on: archives
at 7673 ms promote node 1
at 7874 ms let a sync of the log of node 1 fail with seed 238041
at 7962 ms wait for standbys 'FIRST 1 (n2)'
