# A slot was made, and later dropped under the same temporary name: who looked in the middle of both, and not
# in between, took its file for one that is not made durable.
seed 42928
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
3 clients work for 13634 ms
commits wait for standbys 'FIRST 1 (n1, n2)'
switched on: slots of standbys, copied slots
at 10261 ms promote node 2
at 12835 ms clone node 1 from node 2
at 12836 ms clone node 3 from node 2
at 13435 ms promote node 3
