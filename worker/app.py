"""The composition root: Settings → adapters → ports. Nothing else imports adapters."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from jobs.answer import answer
from jobs.decisions.prompting import Template
from jobs.ingest import ingest
from jobs.ports import Job, ModelName, Opening, World
from worker import telemetry
from worker.adapters import broadcast, database, models
from worker.adapters.knowledge import SupabaseKnowledge
from worker.adapters.rows import SupabaseRows
from worker.adapters.tokens import count_tokens
from worker.answer_stream import AttemptStream
from worker.executor import Executor, Timing
from worker.health import create_internal, serve
from worker.intake import create_intake
from worker.leases import Leases
from worker.ledger import AttemptLedger
from worker.queue import connecting
from worker.queue.arq_queue import ArqQueue
from worker.queue.arq_worker import Claiming, job_function, run_worker as take_hints
from worker.queue.turns import RedisTurn
from worker.settings import Settings, load
from worker.settling import Policy
from worker.sweeper import Sweeper

log = structlog.get_logger()

JOBS: Mapping[str, Job] = {"answer": answer, "ingest": ingest}
PROMPTS = Path(__file__).parents[1] / "jobs" / "prompts"
