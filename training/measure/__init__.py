"""Checkpoints become scores on the same pages, and scores the gate's decision.

`evaluate` runs a checkpoint with the Tagger that serves; `scoring` counts entities; `compare` measures the candidate
and every kept version on the same validation pages; `gate` decides and is pure. Nothing of it is kept: a later
attempt repeats it.
"""
