"""Tools for developers, which are not in the wheel."""
