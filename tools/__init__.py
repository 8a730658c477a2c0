"""Tools for developers, which are not included in the wheel."""
