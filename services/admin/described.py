"""What admin's reflection describes beside its own services.

Behind one front door every question of reflection reaches admin, whichever service it is about: descriptors are known
once their modules are imported.
"""

from hangar.app.v1 import app_service_pb2
from hangar.executor.v1 import executor_service_pb2
from hangar.image.v1 import image_service_pb2
from hangar.scheduler.v1 import node_service_pb2, scheduler_service_pb2

OTHERS = (
    app_service_pb2.DESCRIPTOR,
    executor_service_pb2.DESCRIPTOR,
    image_service_pb2.DESCRIPTOR,
    node_service_pb2.DESCRIPTOR,
    scheduler_service_pb2.DESCRIPTOR,
)
"""Files of the other services."""
