# A restartpoint amid log of an archive, of which redo had not told yet, let nothing of it go.
seed 232547
