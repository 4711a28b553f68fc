# A commit was acknowledged by its standbys while a fallback was put into the log, and the ledger and the log's
# line told the fallback from the position of before: as if that commit had been acknowledged without them.
seed 391632
