"""Prefect flows: one file each, with the order of the stages and nothing else.

Importing this package sets environment variables, which no other import here does: Prefect reads them as it is
imported itself, and would report to its makers before any function of ours is called.
"""

from flows.quiet import be_quiet

be_quiet()
