"""The executor of a host: carries out leases in workers and tells the scheduler how they ended.

It owns the host's inventory, the workers and their environments, the outbox (what must survive a crash of the
executor) and the shipping of logs. Work reaches it through its session with the scheduler only.
"""
