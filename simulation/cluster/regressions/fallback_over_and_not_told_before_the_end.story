# A primary was stopped between the record that its fallback is over and the line that tells so, and started
# again in the end, when nobody asked its log any more.
seed 351700
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
7 clients work for 10249 ms
commits wait for standbys 'ANY 2 (n1, n3)'
switched on: large, ddl, standby reads, clock jumps, wrong promotions, blackouts, archives, broken clones, waits, copied slots
at 1792 ms wait for standbys 'FIRST 1 (n3)'
at 1990 ms stop node 0 fast
at 2566 ms freeze node 3 for 351 ms
at 3422 ms write 1318 kB on node 0
at 3832 ms let 1770 kB a second through between node 0 and node 3 for 2244 ms
at 4171 ms write 75 kB on node 0
at 4279 ms checkpoint on node 0
at 4834 ms let node 2 follow node 0
at 5090 ms cut node 0 off from node 2 both ways for 1361 ms
at 5140 ms promote node 2
at 7766 ms kill node 1
at 7836 ms write 499 kB on node 2
at 7895 ms let node 3 follow the primary
at 7975 ms wait for standbys ''
at 7984 ms stop node 2 fast
