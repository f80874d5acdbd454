"""People's files become page images and tasks, and regions are drawn on pages.

`files` finds those that are named or in a folder, `split` makes pages of them;
`page_images` opens each page as a prediction will, and makes a PNG of what a browser
does not show. `pdf_text` has the words of a PDF's page, and `text_layer` decides whether they are what the eye sees:
`page_ink` looks at the picture, `text_sample` has OCR read some lines. `project` uploads page by page, with its words
(a name made of what a file holds, so that a run that broke off finds its uploads), and then makes all tasks of a
document in one request, so that none is there in part. What is there already is read from the tasks' `meta`.
"""
