"""The model store: what is where in it, manifests and cards, who may write, copies of a store at a URL.

`model_store` is the door: a `ModelStore` knows where it is and how it is locked, names what lies where, reads
manifests, cards and nodes' reports, and gives locks and stamps. `changes` changes what is in service.

A manifest (`project-7/serving.json`) is written atomically by the holder of the folder's lock
(`MODEL_DIR/project-7/.lock`), held while it is changed or old versions are deleted; a promotion holds it until the
nodes have the candidate.

With `REDIS_URL` the locks are in Redis (`redis_locks`: 30 s, renewed by a thread, a number that grows with each
holder). The holder checks with Redis right before the flip; the manifest keeps the number of its writer, and a lower
one is refused. Whoever changes a store must hold the same kind of lock, so a store that was locked in Redis refuses
processes without `REDIS_URL`.

A store at a URL is changed directly (`path`, UPath; one put replaces a file). Archives and checkpoints are built and
read on this disk (`transfer`). Readers have a copy that follows it once a second (`mirror`; `copy` says of which
store a copy is, and whether it is whole).

`thresholds`: which boxes of a project are certain enough to be drawn (`project-7/thresholds.json`).

`use_marks`: the time of `MODEL_DIR/.asked/project-7` says when the project last had a page.
"""
