# A standby that asked silent peers for their timelines, before its promotion, heard of an immediate stop five
# seconds later only.
seed 2
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
3 clients work for 5000 ms
commits wait for standbys 'ANY 1 (n1, n2)'
switched on: freezes
at 1000 ms freeze node 2 for 4000 ms
at 1050 ms kill node 0
at 1100 ms promote node 1
at 1300 ms stop node 1 immediately
at 2500 ms start node 1
at 2500 ms start node 0
