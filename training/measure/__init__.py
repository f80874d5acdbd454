"""How good a version is, compared with the one in service, and whether it may take over."""
