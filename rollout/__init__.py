"""The watcher beside each TorchServe, and promotion: it makes TorchServe hold what serving.json names."""
