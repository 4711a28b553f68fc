# A primary whose start was all but done when an immediate stop was asked for took the first checkpoint on its
# timeline to its end before it left.
seed 1795352209314
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
6 clients work for 4666 ms
commits wait for standbys ''
switched on: ddl, slots of standbys, copied slots
at 2967 ms promote node 2
at 3465 ms cut the power of node 2 with seed 873042
at 3561 ms start node 2
at 3666 ms stop node 2 immediately
