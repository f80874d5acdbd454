"""Image to words: the OCR engines, the page cache, and the reader that makes a Page of an image."""
