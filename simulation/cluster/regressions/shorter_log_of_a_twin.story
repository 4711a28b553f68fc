# A standby that could not read all of what it had received took a shorter log of another branch of the same
# number for its own: it was never told to be cloned anew.
seed 231750
