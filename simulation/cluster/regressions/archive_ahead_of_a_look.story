# An archive got a segment between redo's look and the judgement of the end that redo came to: the judgement
# brought it, and the stream that began before it cut its records, whole, and said so in the ledger.
seed 341642
