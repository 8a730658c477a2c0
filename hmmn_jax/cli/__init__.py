"""What commands have in common: flags, errors in one line, exit codes."""
