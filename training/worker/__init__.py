"""The trainer: it claims jobs and runs each in a process of its own."""
