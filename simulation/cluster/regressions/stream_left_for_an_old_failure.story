# A standby whose replay was paused while its stream failed and came back left that stream as soon as replay
# went on, to look into the archive; the primary that stopped meanwhile did not wait for it.
seed 42639
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 9518 ms
commits wait for standbys 'ANY 1 (n1, n2)'
switched on: slots of standbys, archives
at 5431 ms clone node 0 from node 1
at 5486 ms promote node 2
at 5954 ms let node 3 follow the primary
at 7461 ms let a sync of the log of node 2 fail with seed 199494
at 8073 ms let node 1 follow the primary
at 8173 ms pause replay on node 3
at 8603 ms write 542 kB on node 2
