# A standby that goes on from the branch which once replaced its own, and keeps the record of that, was taken
# for fenced: nobody was left to be promoted.
seed 351505
