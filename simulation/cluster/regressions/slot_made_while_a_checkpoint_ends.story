# A slot that was made between a checkpoint's control file and the removal of old log, and asks for log that the redo point
# before needed: the checkpoint leaves that, and only the next one may remove it.
seed 1796013250495
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
node 4 follows node 0
6 clients work for 3752 ms
commits wait for standbys 'FIRST 1 (n3, n2, n1, n4)'
switched on: large, ddl, cancelled waits, timeouts, disappearing clients, standby reads, confirmed reads, slots of standbys, archives
at 840 ms wait for standbys 'FIRST 1 (n2)'
at 840 ms set on node 2 synchronous_standby_names = ANY 1 (n0)
at 845 ms let node 1 follow node 4
at 845 ms let node 3 follow node 4
at 850 ms let node 2 follow node 0
at 850 ms let node 4 follow node 0
at 1140 ms checkpoint on node 0
at 1240 ms let 1047 kB a second through between node 0 and node 2 for 2627 ms
at 1240 ms let 1047 kB a second through between node 0 and node 4 for 2627 ms
at 1250 ms log one record of 1704 kB on node 0
at 1255 ms let clients rest for 2863 ms
at 1930 ms checkpoint on node 2
at 2030 ms kill node 0
at 2277 ms promote node 2
at 2529 ms let node 4 follow the primary
at 2541 ms wait for standbys 'FIRST 1 (n1, n3)'
at 2552 ms let node 3 follow the primary
at 2648 ms let node 2 follow the primary
at 2752 ms let node 1 follow the primary
