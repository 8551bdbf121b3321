"""One search over many devices: a driver that holds the state, and devices that hold models."""

from streamt1.distributed.fleet import Fleet
from streamt1.distributed.models import remote_models
from streamt1.distributed.scorers import Scorers
from streamt1.distributed.seats import Link, LinkLostError
from streamt1.distributed.worker import Reply, Request, Worker

__all__ = ["Fleet", "Link", "LinkLostError", "Reply", "Request", "Scorers", "Worker", "remote_models"]
