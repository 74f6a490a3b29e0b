"""The scheduler: the only writer of the ledger.

Owns runs, actions, attempts (leases), workers and nodes: `core` decides, the shell around it commits what was
decided and only then lets it be seen, `node_session_servicer` talks to executors, `servicer` takes commands.
"""
