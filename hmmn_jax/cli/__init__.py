"""Code that all commands share, such as flags, one-line error messages and exit codes."""
