"""What a TorchServe worker runs: image bytes to a Page, a Page to Regions. Travels whole inside every .mar."""
