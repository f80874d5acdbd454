"""People's files become page images and tasks, and regions are drawn on pages.

`split` makes pages of files; `page_images` opens each page as a prediction will, and makes a PNG of what a browser
does not show; `project` uploads page by page (a name made of the page's hash, so that a run that broke off finds its
uploads) and then makes all tasks of a document in one request, so that none is there in part. What is there already
is read from the tasks' `meta`.
"""
