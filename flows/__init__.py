"""One file per flow: the order of the stages, nothing else."""
