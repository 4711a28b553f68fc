# A standby's disk changed a bit below commits that it had confirmed, and the old primary was cloned from a
# standby that lacked them. When another one was promoted, which said that it may lose some, the check counted
# the first one as a holder of all that it had confirmed, though it told of the log up to that bit only.
seed 350485
