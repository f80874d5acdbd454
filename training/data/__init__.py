"""Annotations to examples: which annotation counts, words for its boxes, training and validation split."""
