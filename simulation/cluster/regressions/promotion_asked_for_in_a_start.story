# A fenced server that was asked for a promotion while it started went down with an error instead of refusing it.
seed 10
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
5 clients work for 4252 ms
commits wait for standbys 'FIRST 1 (n1, n2)'
switched on: ddl, archives
at 612 ms set on node 0 plimsoll.fence_probe_interval = 300ms
at 992 ms promote node 2
at 2559 ms stop node 0 immediately
at 2704 ms let node 0 follow node 3
at 3252 ms promote node 0
