"""What each TorchServe holds: the watcher beside it follows the manifests, and a promotion changes one.

Watcher: it copies an archive, checks the copy's sha256, registers it, sends it a test page (`smoke`), and only
then reports it in `MODEL_DIR/.nodes/`. The same loop brings the models back after a crash: TorchServe itself starts
empty.

Promotion: `promotion` adds the candidate to `load`, waits until every running node has looked again and holds it,
runs the caller's own test (a training: a page of the project, and its own record), and flips `current`. On any
failure the manifest is as before. A version leaves `load` once it has been out of `current` for longer than any
request can last (`retirement`), and is then drained and unregistered.

Nodes: one that reported nothing for `LAYOUTLOOP_NODE_SILENT_S` is not waited for; each report says how long its node
may be silent. A node reports since when its TorchServe is down (`away_since`); after that time a promotion goes on
without it if another node holds the version. So it does without a node that cannot fetch the archive, which is tried
again every five seconds. A watcher that hangs in one step for 15 minutes reports no more. A node that stops in order
deletes its report; after a day any watcher deletes a lost one's (`process`). The nodes' clocks must agree within
seconds.

Ready (`readiness`): a node is ready when it holds what is current and what just left. A candidate does not count, or
every promotion would make all nodes unready at once. A version that this node tried in vain (cannot fetch, has no
worker for) and no other node holds does not count either; `ocr` always does.

Idle projects (`worker_counts`): a project whose use mark and manifest did not change for `LAYOUTLOOP_IDLE_S` keeps
its versions registered without a worker (`asleep` in the node's report). TorchServe keeps the queue of such a version
(measured). The watcher sees a changed mark within a quarter of a second, starts the workers and sends the test
page.
"""
