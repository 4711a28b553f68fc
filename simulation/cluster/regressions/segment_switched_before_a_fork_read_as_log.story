# The last segment before a fork had one whole record, which switched it: a rewind that looked there for the common
# checkpoint took what lies behind for damage.
seed 474423
