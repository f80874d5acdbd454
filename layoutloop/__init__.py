"""The library that the deployables share, without torch and without Flask.

`errors` is the one tree of everything that can go wrong, each with its HTTP status.
"""
