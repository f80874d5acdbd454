"""Documents to page images and Label Studio tasks, and pages drawn with their regions."""
