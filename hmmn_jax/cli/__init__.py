"""Shared parts of all commands: flags, one-line error messages, exit codes."""
