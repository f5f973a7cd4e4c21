"""Prefect blocks: the workspace's place and the DVC remote. Secrets stand here and nowhere else."""
