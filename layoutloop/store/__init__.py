"""The model store: where versions lie, which are in service, its locks, and the copy of one at a URL."""
