"""TorchServe's HTTP interface: pages to the nodes, management of the one on this machine, the versions in service.

`inference` is the client: read timeouts, retries, tokens, a bound on requests in flight. DNS is the list of nodes
(`nodes`). A page goes to the node with least to do for its model; what one node cannot answer (refused, cut, silent,
full, version not held, or no TorchServe that takes our requests) goes to the next, inside the page's deadline, and
only what no node holds is "not ready". A node that failed comes last for 5 s, then one request shows whether it
is back. The bound (`fifo_semaphore`) grows with the nodes that answer.

`in_service`: versions are pinned, as the manifest names them. A version that TorchServe does not hold (yet, or any
more) is read from the manifest again inside the deadline; so is one that has no worker because its project was idle.
"""
