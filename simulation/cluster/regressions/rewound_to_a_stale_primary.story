# A standby was to rewind itself, and when its next life did so, primary_conninfo named a server of an older timeline:
# it gave up its own for that.
seed 7
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
4 clients work for 7000 ms
commits wait for standbys ''
switched on: kills, rewinds
at 50 ms set on node 2 plimsoll.auto_rewind = on
at 300 ms checkpoint on node 0
at 600 ms switch the segment on node 0
at 900 ms wait for standbys 'ANY 1 (n2)'
at 1000 ms cut node 0 off from node 1 both ways for 6500 ms
at 1000 ms cut node 0 off from node 2 both ways for 1700 ms
at 1000 ms cut node 0 off from node 3 both ways for 6500 ms
at 1100 ms promote node 1
at 1300 ms let node 2 follow node 1
at 1300 ms let node 3 follow node 1
at 2000 ms cut node 1 off from node 3 both ways for 4000 ms
at 2050 ms write 300 kB on node 1
at 2400 ms promote node 3
at 2600 ms let node 2 follow node 3
at 2720 ms let node 2 follow node 0
