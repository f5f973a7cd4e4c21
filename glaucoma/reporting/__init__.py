"""What people read: the report of a cycle and the tables of the command line."""
