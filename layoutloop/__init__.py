"""The library that the deployables share: errors, settings, Label Studio, TorchServe, the model store, jobs."""
