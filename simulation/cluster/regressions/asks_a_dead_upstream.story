# A standby waited for the answer of a server that froze and lost its power, and did not hear that it was to
# follow another one.
seed 1
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
1 clients work for 1000 ms
commits wait for standbys ''
switched on: freezes, power cuts
at 100 ms set on node 2 wal_receiver_timeout = 0
at 300 ms freeze node 1 for 1000 ms
at 400 ms let node 2 follow node 1
at 600 ms cut the power of node 1 with seed 0
