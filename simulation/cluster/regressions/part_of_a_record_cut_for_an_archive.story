# A standby that had received a part of a record followed a later timeline by the archive alone, and nothing said that
# the part was cut.
seed 11
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
2 clients work for 9000 ms
commits wait for standbys ''
switched on: archives
at 300 ms checkpoint on node 0
at 500 ms switch the segment on node 0
at 690 ms let clients rest for 2600 ms
at 700 ms let 900 kB a second through between node 0 and node 1 for 6000 ms
at 700 ms let 900 kB a second through between node 0 and node 2 for 6000 ms
at 650 ms set on node 0 archive_command = false
at 1100 ms log one record of 3800 kB on node 0
at 3000 ms kill node 0
at 3200 ms promote node 1
at 4500 ms write 100 kB on node 1
at 5000 ms switch the segment on node 1
at 7500 ms let node 2 follow node 1
