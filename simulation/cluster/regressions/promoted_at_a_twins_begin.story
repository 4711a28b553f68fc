# Two timelines of one number: a standby followed one of them to its begin, and was promoted there. It took the
# archive's history of that number, which was the other one's, and ended for good.
seed 1795819390563
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
node 3 follows node 0
node 4 follows node 0
1 clients work for 9509 ms
commits wait for standbys 'ANY 1 (n2)'
switched on: archives
at 1955 ms promote node 3
at 3845 ms clone node 0 from node 3
at 4503 ms clone node 0 from node 3
at 6015 ms kill node 2
at 6824 ms start node 2
at 7789 ms promote node 0
at 7835 ms promote node 2
at 7866 ms let node 4 follow the primary
at 8354 ms promote the best of nodes 1, 2, 3, 4
at 8509 ms promote node 1
