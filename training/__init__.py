"""Annotations to the next version in service: the steps of one training, and the restore of an older version."""
