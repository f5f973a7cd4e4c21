"""What was tried and learned: the ledger of all experiments, and the record of each research cycle."""
