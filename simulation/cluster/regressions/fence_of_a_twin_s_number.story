# The first of two promotions that did not see each other fenced the old primary. It followed the second one,
# whose timeline has the same number, and became the primary again.
seed 1
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
1 clients work for 4500 ms
commits wait for standbys ''
switched on: twin promotions
at 0 ms let clients rest for 4500 ms
at 0 ms set on node 0 plimsoll.fence_probe_interval = 300ms
at 400 ms isolate node 2 for 1900 ms
at 410 ms promote node 1
at 1800 ms promote node 2
at 2000 ms stop node 0 immediately
at 2400 ms let node 0 follow node 2
at 3600 ms promote node 0
