"""The HTML page that shows the results of an evaluation."""
