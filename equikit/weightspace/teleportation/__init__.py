"""Teleportation: move parameters along the level sets of a loss, exactly, or exactly on a batch."""

from equikit import _checks
from equikit.weightspace.teleportation._batch_action import BatchAction, batch_action
from equikit.weightspace.teleportation._teleport import TeleportState, teleport

__all__ = ["BatchAction", "TeleportState", "batch_action", "teleport"]

_checks.answer_misspelled(__name__)
