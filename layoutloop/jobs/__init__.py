"""Jobs: the record, the rules by which it moves, where records are kept, and the queue that they are.

queued --claim--> running --finish--> done (promoted, rejected, skipped, dry run; of pre-labellings done, stopped)

      ^                  |-----fail-----> failed

      |-- retry, wait, release, requeue   (retry and requeue too, after 5 attempts; wait, after 16)

`job` is the record, `rules` how it moves (pure), `records` where it is kept (SQLite or Redis), `queue` what the others
call. Every change reads the records, applies a rule and writes, atomically: BEGIN IMMEDIATE in SQLite, WATCH in
Redis. The worker that claims a job runs it. A worker polls once a second.

Waiting: an equal request joins the job that waits; one that runs, or was tried before, does not count, since what
came meanwhile is not in it. At most 200 wait. A job that ended as skipped is followed by 60 s without another.
Annotations wait 5 s for the rest of a burst. A person's request joins such a job and turns it into one that is not
skipped.

Lanes: trainings and restores are one, pre-labellings the other. Jobs wait for others of their lane alone: one training
of a project runs at a time, and one pre-labelling in all. A promotion queues a pre-labelling in the same step, which
ends the one of an older version. It is stopped in its record: its process is refused then, as one of an earlier
attempt is.

Fencing: `attempt` grows with every claim, and a process that works on a job names it with every change. A process of
an earlier attempt is refused (`Superseded`) and stops; it checks once more right before the flip.

Lost workers: a worker updates its job every 5 s; after 60 s without an update any worker queues the job again, and a
worker that starts takes back at once what ran under its own name. An orderly stop gives the job back and does not
count as an attempt.
"""
