"""Device plugins: how an executor learns of the GPUs of its host."""
