"""What a TorchServe worker runs: image bytes to a Page, a Page to Regions; it travels whole inside every .mar."""
