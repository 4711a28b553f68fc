# A standby that a node was rewound to was promoted just before the rewind ended: the node got the control file of the
# later timeline without that timeline's history, and did not start.
seed 1795808815003
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
1 clients work for 11012 ms
commits wait for standbys 'ANY 2 (n3, n2)'
switched on: large, tokens
at 1287 ms let node 1 follow node 2
at 3260 ms promote node 3
at 3832 ms promote node 2
at 7228 ms hand the primary's role over to node 1 within 1811 ms
at 7878 ms rewind node 3 to node 2
at 10012 ms hand the primary's role over to node 2 within 1811 ms
