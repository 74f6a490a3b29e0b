"""Kinds of tasks beside Python functions: `ContainerTask` runs any image with any program in it."""

from flyte.extras._container_task import ContainerTask

__all__ = ["ContainerTask"]
