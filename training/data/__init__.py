"""A project's annotations become examples: which annotation counts, which words a box holds, which documents validate.

`collect` is the order: `annotations` picks the annotation that counts, `page_readers` has each page read by the `ocr`
in service, `dataset` gives words to boxes, `split` says who validates; `dataset.json` is written last. `left_out`
counts by reason what could not be used. An example is a page as the wire has it, with entities (label, box, word
indices). `formats` writes examples as FUNSD's folders and as JSON lines.

`split.json` in the model store remembers which documents ever trained and which were held out. A training that failed
counts as well, since it is not known what is still made of its pages. `learned.json` notes the annotations of the
last training, which tells the next one how many are new.
"""
