# The check asked a primary that had backed out of a handover to lead, though the director itself had stopped it
# in the end, promoted another, and started it again.
seed 341003
