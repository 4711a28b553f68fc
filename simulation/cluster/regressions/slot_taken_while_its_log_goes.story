# A checkpoint gave a slot up and told nobody yet. A standby took the slot in that moment, which was valid again
# by its first report, and the log that it asked for was removed.
seed 205034
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 2
node 4 follows node 2
5 clients work for 5418 ms
commits wait for standbys 'FIRST 1 (n1, n2)'
switched on: large, cancelled waits, timeouts, disappearing clients, slots of standbys, held snapshots
at 2093 ms switch the segment on node 0
at 2100 ms checkpoint on node 0
at 2187 ms write 373 kB on node 0
at 2304 ms switch the segment on node 0
at 2313 ms checkpoint on node 0
at 2407 ms drop slot left1524 on node 0
at 2408 ms set on node 0 max_slot_wal_keep_size = -1
at 3311 ms let a sync of the log of node 2 fail with seed 352155
at 3545 ms start node 2
at 3682 ms cut the power of nodes 4 at the next answer to a commit with seed 341464
at 4113 ms create slot left4113 on node 0
at 4114 ms set on node 0 max_slot_wal_keep_size = 2MB
at 4123 ms write 493 kB on node 0
at 4175 ms switch the segment on node 0
at 4191 ms checkpoint on node 0
at 4273 ms write 506 kB on node 0
at 4338 ms switch the segment on node 0
at 4418 ms write 355 kB on node 0
