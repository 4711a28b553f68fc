# A primary was stopped between the record that its fallback is over and the line that tells so, and started
# again in the end, when nobody asked its log any more.
seed 351700
