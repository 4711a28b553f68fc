# The check took a fallback from remote_write, which followed one from on and lasted with it, for one of its
# own, and missed commits that standbys had held at remote_write before both.
seed 331122
