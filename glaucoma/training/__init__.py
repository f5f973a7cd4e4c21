"""Training of one experiment: its specification, its folder, the loop in a child process, and the watchdog."""
