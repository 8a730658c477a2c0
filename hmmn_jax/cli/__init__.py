"""The command line: the code that all commands share, such as flags, one-line error messages and exit codes."""
