"""Admin: what people, the SDK and browsers talk to.

Owns the projects (`store`). Reads runs, actions and logs from the ledger on a read-only connection, asks the
scheduler to change them, and hands out signed URLs for the blob store. `http` serves pages and those URLs.
"""
