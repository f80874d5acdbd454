"""Annotations become the next model version: archive it, put it into service."""
