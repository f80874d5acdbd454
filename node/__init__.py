"""Supervises the programs of one machine: starts those that it is given, restarts what ends or hangs, stops all.

`serve` runs supervisord, which runs TorchServe (clean environment, private TMPDIR), the watcher, the shim (gunicorn,
one process, threads) and the trainer, and restarts what ends. Each part has its lock and its mark, so that two starts
in one home leave each other's processes alone. A start removes what a killed one left.
"""
