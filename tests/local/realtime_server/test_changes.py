"""postgres_changes, frame by frame."""

import psycopg
import pytest

from tests.local.realtime_server.wire import token_for, wire
from worker.local.stack import Stack

