"""Every port in memory, faithful to the real ones: for tests of jobs and of the machine, without a server."""

from worker.adapters.memory.broadcast import MemoryBroadcast
from worker.adapters.memory.cancels import MemoryCancels
from worker.adapters.memory.circuits import MemoryCircuits
from worker.adapters.memory.database import MemoryDatabase
from worker.adapters.memory.examples import MemoryExamples
from worker.adapters.memory.knowledge import MemoryKnowledge
from worker.adapters.memory.limits import MemoryLimits
from worker.adapters.memory.message_quota import MemoryMessageQuota
from worker.adapters.memory.models import HashEmbedder, ScriptedModel
from worker.adapters.memory.queue import MemoryQueue
from worker.adapters.memory.rows import MemoryRows

__all__ = [
    "HashEmbedder",
    "MemoryBroadcast",
    "MemoryCancels",
    "MemoryCircuits",
    "MemoryDatabase",
    "MemoryExamples",
    "MemoryKnowledge",
    "MemoryLimits",
    "MemoryMessageQuota",
    "MemoryQueue",
    "MemoryRows",
    "ScriptedModel",
]
