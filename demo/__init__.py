"""A generator of synthetic documents, and the steps of the demo."""
