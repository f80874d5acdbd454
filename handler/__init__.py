"""What a TorchServe worker runs and every .mar carries whole: image bytes become a Page, a Page becomes Regions.

At the top: the nouns (`page`), their JSON (`wire`), the only unit conversions (`geometry`), `errors`, and bytes to the
image that the annotator sees (`images`, with `browser_view`, `tiff_pages` and `resolution`), which all may import and
which need no torch. `ocr_handler` and `layoutlmv3_handler` are the entries that TorchServe calls; `items` turns
TorchServe's batch into items and gives each its own answer or error.
"""
