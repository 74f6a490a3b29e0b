"""DataService."""

from __future__ import annotations

from typing import Any

from hangar.admin.v1 import data_service_pb2 as messages
from hangar.admin.v1.data_service_pb2_grpc import DataServiceServicer
from services.admin.data import Data


class DataServicer(DataServiceServicer):
    """Uploads and downloads over gRPC."""

    def __init__(self, data: Data) -> None:
        self._data = data

    async def CreateUploads(self, request: messages.CreateUploadsRequest, context: Any) -> Any:
        """Says what is stored already, and where to PUT the rest."""
        return messages.CreateUploadsResponse(uploads=await self._data.create_uploads(request))

    async def CreateDownloads(self, request: messages.CreateDownloadsRequest, context: Any) -> Any:
        """Says where to GET objects."""
        return messages.CreateDownloadsResponse(downloads=await self._data.create_downloads(request))

    async def ListObjects(self, request: messages.ListObjectsRequest, context: Any) -> Any:
        """Lists the objects of a directory."""
        return await self._data.list_objects(request)
