"""An image becomes words: the OCR engines, the thumbnail, the cache of pages that were read.

`reader` runs one of the engines, adds the thumbnail on request, and keeps both in `cache`'s content-addressed files,
which all workers of a machine share.
"""
