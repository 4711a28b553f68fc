# A clone had fetched the history of a timeline that it did not follow. It was taken for a standby of that
# timeline, and its primary for one that was replaced. It was to be promoted while it fetched from the
# archive, could not tell yet how much log it had received, and nobody asked again.
seed 201303
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
1 clients work for 9585 ms
commits wait for standbys ''
switched on: archives
at 2038 ms start node 1
at 5700 ms promote node 1
at 6588 ms promote node 2
at 8345 ms clone node 2 from node 1
at 8585 ms write 1666 kB on node 1
