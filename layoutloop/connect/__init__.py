"""Connects Label Studio projects with a shim, and keeps their ML backends' titles equal to the version in service."""
