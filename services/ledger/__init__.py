"""The ledger: what every run, action, attempt, worker and node did and does.

Owns the tables (`tables`), their migrations (`migrations`) and read-only queries (`queries`). The scheduler
is the only writer; admin reads through the queries on a read-only connection.
"""
