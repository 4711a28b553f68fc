# A synchronous standby mended a damaged record below log that it had confirmed, and its primary died meanwhile. The
# archive had the history of another standby, which had less and was promoted: the last look of its own promotion took
# that history, and its log ended below what it had confirmed.
seed 31
node 0 is the primary
node 1 follows node 0
node 2 follows node 0
2 clients work for 9000 ms
commits wait for standbys 'ANY 1 (n2)'
switched on: archives
at 100 ms set on node 0 archive_command = false
at 300 ms checkpoint on node 0
at 700 ms let clients rest for 8000 ms
at 1000 ms pause replay on node 2
at 1050 ms write 200 kB on node 0
at 1300 ms cut node 0 off from node 1 both ways for 8000 ms
at 1400 ms log one record of 100 kB on node 0
at 1500 ms log one record of 100 kB on node 0
at 1600 ms log one record of 100 kB on node 0
at 2000 ms spoil a record that node 2 has not replayed with seed 1
at 2050 ms let 100 kB a second through between node 0 and node 2 for 6000 ms
at 2100 ms resume replay on node 2
at 4200 ms kill node 0
at 4220 ms promote node 1
at 4650 ms kill node 1
at 4680 ms promote node 2
