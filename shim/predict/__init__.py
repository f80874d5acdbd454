"""One /predict: tasks in, one prediction for each out, in order and inside the deadline.

`pool` is bounded: a page's turn is its position in its request, so one opened task does not wait for 300 selected
ones; a page that is in two requests is done once. `task_pages` waits for the pages of a task; one that can never be
read costs itself alone. `answer_cache` keeps what TorchServe answered, by image hash and versions, in a file that ends
with the shim. An interactive request (`params.context`, read by `request`) is answered from the same cached page: the
last rectangle drawn by hand becomes its words, under its own id. It comes before everything else in the pool, and only
the page drawn on is read.
"""
