"""Annotations become the next version: the steps of one training in order, from the request to the report.

`retrain` is the steps; `request` what is wanted of a training, what it works with and what comes of it; `publish` the
archive and the rollout; `restore` brings an old version back under a new stamp; `retention` deletes old versions.
Each step leaves its result in the job's folder and a later attempt skips what is there, so a training may be killed
at any moment.

One promotion comes of one job: the training lock (`MODEL_DIR/.training/project-7/.lock`) is held through a whole
training, so a second attempt waits until the process of the first has ended and then finds what it left;
`archived.json` and the manifest (`current`, `left`) tell the second that the first was done; the attempt number keeps
an orphan from the flip.

On several machines the version of a job also stands in `MODEL_DIR/.training/project-7/<job>.json`: a machine that
goes on with a job takes over a version that was put into service (`current`, `left`, `past`) and deletes one that was
not; the rest of the job is done from the beginning there.
"""
