"""How object stores outside of the platform are reached: those of `s3://`, `gs://` and `abfs://` URLs.

The platform's own store needs none of this. What is not given comes from the usual environment variables.

Example:
    ```python
    flyte.init(storage=flyte.storage.S3(endpoint="http://localhost:9000", access_key_id="k", secret_access_key="s"))
    ```
"""

from __future__ import annotations

from flyte.storage._settings import ABFS, GCS, S3, Storage

__all__ = ["ABFS", "GCS", "S3", "Storage"]
