# A standby removed the file of a dropped table, and its control file did not say that its data was as new as
# the drop. A clone of it followed a branch that left before the drop, and lacked the table's file.
seed 330667
