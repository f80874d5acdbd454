"""Examples to a checkpoint: the bases, the windows, the Trainer and its process."""
