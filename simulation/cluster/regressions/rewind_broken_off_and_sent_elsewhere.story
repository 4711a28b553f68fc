# A standby that rewound itself was killed and told to follow another node: its next start went on with the
# rewind to the branch of that one, which does not continue its own.
seed 1795991431127
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 9799 ms
commits wait for standbys 'FIRST 1 (n2)'
switched on: savepoints, large, cancelled waits, standby reads, tokens, confirmed reads, archives, standbys rewind themselves
at 545 ms wait for standbys 'ANY 1 (n3)'
at 550 ms let node 2 follow node 1
at 2257 ms promote node 1
at 4318 ms log one record of 2354 kB on node 1
at 4655 ms kill node 1
at 4833 ms promote node 2
at 6725 ms let node 1 follow node 2
at 7041 ms kill node 2
at 7427 ms promote node 1
at 8799 ms let node 1 follow node 3
