"""What runs inside a worker: the zygote that forks it, the supervisor beside it, and the worker itself.

Standard library, pydantic and the SDK's own modules only: a worker shares its process with user code, whose
packages must never clash with ours.
"""
