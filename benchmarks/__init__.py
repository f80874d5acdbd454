"""Measurements, both sides in one run."""
