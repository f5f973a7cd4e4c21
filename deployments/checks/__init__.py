"""What `python -m deployments.doctor` looks at: one small function for each thing."""
