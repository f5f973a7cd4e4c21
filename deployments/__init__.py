"""What a Prefect server must know, and the commands that bring it there."""
