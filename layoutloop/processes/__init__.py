"""What long-running programs share: a start that ends with its parent, stop signals, logging, the parts of a machine.

`launch` makes a program end with its parent: `python -m layoutloop.processes.launch -- program arguments`.
"""
