"""Job records: what a job is, the rules by which it moves, and the queue in SQLite or Redis."""
