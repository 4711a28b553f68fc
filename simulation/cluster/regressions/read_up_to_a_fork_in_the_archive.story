# A standby had read the beginning of a record from the archive, up to the end of its last segment there. Its
# upstream was promoted where that record begins, and its log was taken for damaged.
seed 1
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
1 clients work for 5000 ms
commits wait for standbys ''
switched on: archives
at 100 ms let clients rest for 4900 ms
at 400 ms kill node 2
at 500 ms switch the segment on node 0
at 600 ms log one record of 700 kB on node 0
at 1000 ms cut node 0 off from node 1 both ways for 4000 ms
at 1005 ms log one record of 500 kB on node 0
at 1600 ms let node 2 follow node 1
at 3300 ms pause replay on node 2
at 3400 ms promote node 1
at 3700 ms log one record of 500 kB on node 1
at 4200 ms resume replay on node 2
