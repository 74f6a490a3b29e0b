"""What every service shares: errors, serving, settings, logs, traces, blobs, databases, names, clock."""
