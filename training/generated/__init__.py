"""Generated receipts, forms, letters and invoices: labelled pages that a base learns from before a project's first.

`documents` is the door: so many pages for a seed, and the labels that their words have. `paper` is what they are
written on, words and places without a picture; `country` is who writes and how (addresses, dates, amounts), `words`
what with. Everything follows the seed, and nothing is of a real business on purpose.
"""
