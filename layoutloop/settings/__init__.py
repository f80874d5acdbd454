"""Frozen dataclasses of settings, read from the environment once."""
