# A standby without a reader told its primary of its next xid, while a large transaction was open whose early
# xids the next snapshot needs: replay gave that up.
seed 228275
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
node 4 follows node 0
4 clients work for 1916 ms
commits wait for standbys 'ANY 1 (n4, n2, n3)'
switched on: savepoints, large, reinsert, timeouts, disappearing clients, standby reads, confirmed reads, held snapshots, copied slots
at 395 ms let 8 sessions alone write on node 0 for 3120 ms
at 916 ms hold a snapshot on node 2 for 2220 ms
