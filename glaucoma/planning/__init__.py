"""What to try next, and whether what was tried is better."""
