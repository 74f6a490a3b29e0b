"""App-serving: apps, their revisions and what they should be.

In this version it starts, is healthy, and answers that apps are not available yet: `servicer`.
"""
