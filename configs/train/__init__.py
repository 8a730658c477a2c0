"""Training experiments, one file each. `base` has the fields that all of them share."""
