"""Executors of shards: in this process, in one process per device, or on a Ray cluster."""

from augmentor.expansion.executors.ray import RayExecutor

__all__ = ["RayExecutor"]
