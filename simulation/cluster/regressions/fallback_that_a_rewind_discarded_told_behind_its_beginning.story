# A primary fell back, was rewound to before that, and was promoted: its ledger said that the fallback ended before it
# began.
seed 472338
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
7 clients work for 6624 ms
commits wait for standbys 'ANY 2 (n1, n3, n2)'
switched on: reinsert, weak levels, timeouts, tokens
at 939 ms let 1106 kB a second through between node 0 and node 3 for 2330 ms
at 939 ms let 1106 kB a second through between node 0 and node 2 for 2330 ms
at 949 ms log one record of 1472 kB on node 0
at 1648 ms promote node 3
at 1977 ms rewind node 0 to node 3
at 5624 ms promote node 0
