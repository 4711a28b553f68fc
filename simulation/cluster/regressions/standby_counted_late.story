# A standby had caught up, and was shown as one that has not until nothing more was to be sent: a commit was
# told by the standby behind it.
seed 200747
