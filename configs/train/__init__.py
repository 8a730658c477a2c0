"""Training configs, one file per experiment. `base` contains the fields that all training configs share."""
