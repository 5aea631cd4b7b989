"""Teleportation: move parameters along level sets of the loss, exactly for all inputs or only on a batch."""

from equikit import _keywords
from equikit.weightspace.teleportation._batch_action import BatchAction, batch_action
from equikit.weightspace.teleportation._teleport import TeleportState, teleport

__all__ = ["BatchAction", "TeleportState", "batch_action", "teleport"]

_keywords.answer_misspelled(__name__)
