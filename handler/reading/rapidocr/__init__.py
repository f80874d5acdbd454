"""Engine `rapidocr`: PP-OCR's networks, one module for each step from page to words."""
