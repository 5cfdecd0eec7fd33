"""Streams committed transactions out of Postgres' WAL, in a thread: psycopg2 is the client that speaks replication.

The slot is temporary. What is committed while there is no connection is not delivered later, as on the real server.
"""

import itertools
import os
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.extras
import structlog

from worker.local.realtime_server.database import SESSION
from worker.local.realtime_server.pgoutput import Decoder, Transaction

log = structlog.get_logger()

PUBLICATIONS = "supabase_realtime,supabase_realtime_messages_publication"
MOST_CHANGES = 500  # handed over at once
MOST_BATCHES = 64  # handed over and not yet worked off: then Postgres waits for us
RECONNECT_AFTER_S = 0.25
LOOK_AFTER_S = 10.0


class WalReader:
    """All three functions are called in the reader's thread; `started` and `stopped` tell whether the stream is up."""

    def __init__(
        self,
        dsn: str,
        deliver: Callable[[list[Transaction]], None],
        started: Callable[[], None],
        stopped: Callable[[], None],
    ) -> None:
        self._dsn = dsn
        self._deliver = deliver
        self._started = started
        self._stopped = stopped
        self._room = threading.Semaphore(MOST_BATCHES)
        self._wake, self._woken = socket.socketpair()
        self._stopping = threading.Event()
        self._slots = itertools.count(1)

    def worked_off(self, batches: int) -> None:
        """Must follow each delivery."""
        self._room.release(batches)

    def stop(self) -> None:
        self._stopping.set()
        self._room.release()
        self._wake.send(b"\0")

    def run(self) -> None:
        """Until stopped. Reconnects for as long as it takes."""
        last_reason = ""
        while not self._stopping.is_set():
            try:
                self._stream()
            except psycopg2.Error as error:
                reason = str(error).strip()
                if reason != last_reason:  # not once for each attempt
                    log.warning("wal.disconnected", reason=reason)
                last_reason = reason
            finally:
                self._stopped()
            self._stopping.wait(RECONNECT_AFTER_S)
        self._wake.close()
        self._woken.close()

    def _stream(self) -> None:
        connection = psycopg2.connect(
            self._dsn,
            connection_factory=psycopg2.extras.LogicalReplicationConnection,
            connect_timeout=5,
            application_name="realtime",
            options=SESSION,
        )
        with connection.cursor() as cursor:
            # A name of its own for each connection: the server may not have noticed yet that the last one is gone.
            slot = f"rowcall_realtime_{os.getpid()}_{next(self._slots)}"
            cursor.execute(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT")
            cursor.start_replication_expert(
                f"START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names '{PUBLICATIONS}')",
                decode=False,
                status_interval=LOOK_AFTER_S,
            )
            log.info("wal.streaming", slot=slot)
            self._started()
            try:
                self._read(cursor)
            finally:
                connection.close()

    def _read(self, cursor: Any) -> None:
        decoder = Decoder()
        batch: list[Transaction] = []
        size = 0
        with selectors.DefaultSelector() as selector:
            selector.register(cursor, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping.is_set():
                message = cursor.read_message()
                transaction = None if message is None else decoder.feed(message.payload)
                if transaction is not None and transaction.changes:
                    batch.append(transaction)
                    size += len(transaction.changes)
                if batch and (message is None or size >= MOST_CHANGES):
                    self._hand_over(batch)
                    batch, size = [], 0
                if message is None:
                    # Also when there was nothing for us: Postgres keeps the WAL from here on, and a shutdown waits
                    # until everything was confirmed.
                    cursor.send_feedback(flush_lsn=cursor.wal_end, force=True)
                    selector.select(LOOK_AFTER_S)

    def _hand_over(self, batch: list[Transaction]) -> None:
        self._room.acquire()
        if not self._stopping.is_set():
            self._deliver(batch)
