# Redo of a drop had waited for a reader up to max_standby_streaming_delay, and the next conflict cancelled the
# run's last read of that standby, as it may: the run took that for a node that does not come back.
seed 391110
