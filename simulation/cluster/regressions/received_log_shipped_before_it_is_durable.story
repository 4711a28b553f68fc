# A standby was promoted while its receiver had log that only the kernel had. Redo counted it as flushed, a cascade got it,
# and then the disk refused it.
seed 461340
