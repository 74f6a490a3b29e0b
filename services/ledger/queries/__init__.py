"""Read-only queries of the ledger, one noun per module.

Every function takes a connection and returns frozen records. Times are microseconds since the epoch, UTC;
phases and failure kinds are the numbers of the protos. A page goes on after the last record of the one
before: no offsets.

A watch reads `events.last_cursor` first, then the snapshot, and then goes on with what changed since that
cursor: it may see a change twice, and never misses one.
"""
