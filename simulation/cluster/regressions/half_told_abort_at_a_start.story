# A stop came between an abort and what the state page says of it: the next start forgot the abort, and half of
# a transaction was there.
seed 207090
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
7 clients work for 7298 ms
commits wait for standbys 'ANY 2 (n1, n2)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, cancelled waits, timeouts, disappearing clients, standby reads, confirmed reads, slots of standbys, held snapshots, archives, copied slots, collisions
at 305 ms kill node 1
at 447 ms write 286 kB on node 0
at 529 ms switch the segment on node 0
at 581 ms checkpoint on node 0
at 715 ms write 254 kB on node 0
at 766 ms switch the segment on node 0
at 770 ms write 24 kB on node 0
at 781 ms stop node 0 immediately
at 6298 ms set on node 2 plimsoll.fence_probe_interval = 300ms
