"""Where people compare runs: an experiment's progress, copied by a process of its own to W&B or MLflow."""
