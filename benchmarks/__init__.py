"""Measurements, each of which runs both sides of its comparison in one run.

Figures go to `benchmarks/README.md` with machine and date. Every script that measures prints its machine first.
"""
