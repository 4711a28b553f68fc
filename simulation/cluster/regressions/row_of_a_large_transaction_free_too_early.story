# Who met a row of a large transaction between its commit's way into the log and its publication took it for
# settled, and told of it before standbys held it.
seed 11
node 0 is the primary
node 1 follows node 0
8 clients work for 3200 ms
commits wait for standbys 'ANY 1 (n1)'
switched on: large, weak levels, rows asked for until free
at 60 ms let fibers stand still at many locks for 8500 ms
at 100 ms let the disk of node 1 take up to 20000 us for a call for 8500 ms
