"""The report of a training, as JSON, HTML and text."""
