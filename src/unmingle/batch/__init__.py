"""Many recordings: one after the other in this process, or by many workers, with a manifest."""

from unmingle.batch.one import Outcome, process_files
from unmingle.batch.run import Batch

__all__ = ["Batch", "Outcome", "process_files"]
