"""Pre-labels a project: the shim's predictions for all its waiting tasks, imported into Label Studio, none twice.

What was done is what Label Studio holds: a run keeps nothing, so it can be stopped at any moment and started again.
`run` looks for tasks until none is left, `shim` answers them, `storing` imports what was answered, beside the
answering; `file` writes it instead. `job` is a run that nobody started, at a gentle pace, for the tasks that people
meet next, and `removal` what may follow it. Between a look and an import a person may press Retrieve Predictions;
`shim/predict/handed_out.py` has how neither stores what the other does.
"""
