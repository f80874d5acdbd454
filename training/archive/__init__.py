"""A checkpoint becomes a .mar that stands alone, and a .mar a checkpoint again without running it.

`archive` makes a version of a checkpoint (or of `ocr`): a copy of what serving needs, a card that says what it is,
and by way of `packing` (torch-model-archiver) the .mar with the handler inside. `stored_models` takes the checkpoint
out of an archive as data.
"""
