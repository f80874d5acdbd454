"""Settings of serving, training and a node: frozen dataclasses, each read from the environment once.

docs/settings.md has a row for each; a mistyped `LAYOUTLOOP_` name is refused.
"""
