# A server that was killed amid a handover's clean stop left the name of a segment it was making to the kernel, and its
# next start, which took the log for at rest, wrote that segment and shipped it: a power cut could take it.
seed 490226
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 1
7 clients work for 10452 ms
commits wait for standbys 'FIRST 2 (n2, n1)'
switched on: savepoints, large, ddl, copy, reinsert, weak levels, cancelled waits, disappearing clients, tokens, confirmed reads, slots of standbys, held snapshots, archives, copied slots, deadlocks
at 552 ms isolate node 2 for 1690 ms
at 998 ms fill the disk of node 0 for 2289 ms
at 3014 ms hand the primary's role over to node 2 within 640 ms
at 3389 ms kill node 0
