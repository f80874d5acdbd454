"""The trainer's processes: a loop that claims jobs, and the process that does one.

scripts.worker -- scripts.retrain --job ID --attempt N (nice 10, a session of its own) -- training.fit.train, or
               |                                                                          torchrun and one for each GPU
               -- scripts.prelabel --job ID --attempt N: a second `loop`, in a thread of its own (`main`)

`loop` gives the signs of life, touches `LAYOUTLOOP_HOME/worker.alive` as long as it goes round, keeps what is printed
in `logs/jobs/ID.log`, ends the whole session when it must (SIGTERM, after 20 s SIGKILL), and queues the job again
where the process broke off. `job` is what runs in the process: it writes progress and outcome into the record itself.
The process ends with the worker; a worker that is restarted takes the job up again. One worker works in a home at a
time (`LAYOUTLOOP_HOME/worker.lock`); a second one waits.
"""
