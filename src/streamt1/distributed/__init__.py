"""One search over many devices: a driver that holds the state, and devices that hold models."""

from streamt1.distributed.fleet import Fleet, Link, LinkLostError
from streamt1.distributed.models import remote_models
from streamt1.distributed.worker import Reply, Request, Worker

__all__ = ["Fleet", "Link", "LinkLostError", "Reply", "Request", "Worker", "remote_models"]
