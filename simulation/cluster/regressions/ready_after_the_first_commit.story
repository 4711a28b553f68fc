# A primary wrote postmaster.pid before its log said that it is ready, while sessions were let in already: a
# commit that waited from then on seemed to be given up before its time.
seed 371904
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 300 ms
commits wait for standbys 'ANY 1 (n2)'
switched on: large, ddl, reinsert, weak levels, cancelled waits, timeouts, standby reads, tokens, kills, power cuts, freezes, network faults, clock jumps, cascades, wrong promotions, old primaries, faults at answers, torn streams, held snapshots, archives, standbys switched to one behind, twin promotions, crashes in a row, broken clones, rests, copied slots, deadlocks, collisions, switchovers, rewinds
