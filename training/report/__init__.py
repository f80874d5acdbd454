"""One training or evaluation becomes a report: JSON, an HTML page that stands alone, text for a terminal.

A report is written twice: once before the flip, so that a version in service has one, and once after it, with all
durations and the pages with the worst disagreements, drawn. A rejected candidate and a dry run leave theirs too.
"""
