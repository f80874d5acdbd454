"""Tasks to predictions: the pool of pages, the cache of answers, and the interactive rectangle."""
