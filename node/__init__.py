"""Supervises the programs of one machine; which programs, the command that starts it says."""
