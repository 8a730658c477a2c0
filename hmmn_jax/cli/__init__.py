"""Shared parts of all commands: flags, errors in one line, exit codes."""
