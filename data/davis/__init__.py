"""Dataset builder for DAVIS-2016, DAVIS-2017, and folders with the same layout."""
