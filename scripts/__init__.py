"""The commands that a person types, each thin: arguments in, calls to the other packages, text out.

They also name the programs that `node` runs. What two commands need is in `layoutloop` or `training`, not here.
"""
