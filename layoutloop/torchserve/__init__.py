"""TorchServe's side: inference on one or several nodes, management, and the versions that a page is sent to."""
