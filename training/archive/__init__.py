"""A checkpoint to a .mar that stands alone, and back."""
