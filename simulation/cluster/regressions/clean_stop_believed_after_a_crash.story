# A clean stop said that nothing is in doubt. The next start left that on record, so the one after a crash
# showed commits that no standby had, and a promotion lost them.
seed 7
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
4 clients work for 6500 ms
commits wait for standbys 'ANY 1 (n1)'
switched on: tokens
at 300 ms let clients rest for 500 ms
at 650 ms stop node 0 fast
at 1000 ms cut node 0 off from node 1 both ways for 6000 ms
at 1000 ms cut node 0 off from node 2 both ways for 6000 ms
at 1010 ms start node 0
at 2200 ms kill node 0
at 2250 ms start node 0
at 4200 ms kill node 0
at 4201 ms promote node 1
at 4300 ms let node 2 follow node 1
at 4400 ms wait for standbys 'ANY 1 (n2)'
