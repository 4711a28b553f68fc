# A standby cut its log at a fork and was killed before its next restartpoint: the file of a slot of its own standby
# still had a position behind the fork, and the log that the slot's standby needed was removed.
seed 3
node 0 is the primary
node 1 follows node 0
node 2 follows node 1
node 3 follows node 0
2 clients work for 14000 ms
commits wait for standbys ''
switched on: slots of standbys
at 300 ms checkpoint on node 0
at 500 ms switch the segment on node 0
at 700 ms let 900 kB a second through between node 0 and node 1 for 6000 ms
at 700 ms let 900 kB a second through between node 0 and node 3 for 6000 ms
at 690 ms let clients rest for 3000 ms
at 1000 ms checkpoint on node 0
at 1100 ms log one record of 3800 kB on node 0
at 3300 ms checkpoint on node 1
at 3400 ms kill node 0
at 3450 ms kill node 2
at 3500 ms promote node 3
at 3800 ms let node 1 follow node 3
at 3860 ms kill node 1
at 4000 ms start node 1
at 4500 ms write 700 kB on node 3
at 4800 ms switch the segment on node 3
at 5000 ms write 900 kB on node 3
at 5400 ms switch the segment on node 3
at 5600 ms write 900 kB on node 3
at 6000 ms switch the segment on node 3
at 6200 ms write 900 kB on node 3
at 6600 ms checkpoint on node 3
at 6900 ms checkpoint on node 1
at 7200 ms write 900 kB on node 3
at 7600 ms checkpoint on node 3
at 7900 ms checkpoint on node 1
at 8300 ms start node 2
