"""Engine `rapidocr`: PP-OCR's networks, one module for each step from page to words.

`engine` is the order: `page_lines` has the detector find the lines of a page (`detection`; a very long page in strips,
`blank_cuts`), the recogniser reads each (`lines`, `alignment`), those on their head again (`orientation`), and
`page_words` puts the words in order (`reading_order`). `networks` runs them on OpenVINO or CUDA; `model_files` takes
their files out of the package `rapidocr`, whose own code is not imported.
"""
