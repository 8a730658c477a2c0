"""Tools for developers. They are not included in the wheel."""
