"""Files that this package writes: whole or not at all, and never in place of a user's."""
