"""Connects Label Studio's projects with the shim, and keeps the ML backend's title at the version in service.

Label Studio's label stream compares the project's `model_version` with the titles of ML backends, its Data Manager
and quick view with the versions of predictions: only where both are equal do all three follow the model in service (a
stale title shows the annotator the boxes of a version that is gone). So `version_titles`, a thread of the trainer's
worker, keeps titles and `model_version` right.

It checks a project (`backend_titles`) about a second after its manifest changed, and within about a minute after its
row in Label Studio's list of projects changed: an edit of the label config, an ML backend added by hand, what a race
wrote. That list calls no ML backend; a check makes Label Studio call all of the project's, so `schedule` spreads
checks out, one a second, and waits ever longer (at most 10 minutes) where something stays wrong.

Only a connected ML backend that reports the version in service here counts as ours, so two LayoutLoops may serve one
project; a title that a person gave is never changed.
"""
