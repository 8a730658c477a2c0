"""One file per experiment; each docstring has the command, the expected result and its cost."""
