"""An embedded Supabase: `with Stack(StackConfig(state_dir, project_dir)) as stack:`."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from worker.local import parts
from worker.local.errors import StackError
from worker.local.node import require_node_modules
from worker.local.parts import Begins, Part
from worker.local.ports import free_port, is_free
from worker.local.postgres import accepts_connections, end_leftover, initialise, lodge_postgres
from worker.local.processes import STOP_GRACE_S, Child, Children
from worker.local.state import (
    ENVIRONMENT,
    SECRETS,
    StateLock,
    open_state,
    read_or_create_secrets,
    write_private,
)
from worker.local.valkey import end_leftover as end_leftover_valkey
from worker.local.wiring import Ports, StackConfig, Wiring

START_TIMEOUT_S = 60.0

Report = Callable[[str, float], None]


def silent(_name: str, _elapsed_s: float) -> None:
    """Reports nothing."""


class Stack:
    """Starts on entering and stops on leaving. `report` is told each part that serves, and after how many seconds."""

    def __init__(self, config: StackConfig, report: Report = silent) -> None:
        self.config = replace(config, state_dir=config.state_dir.resolve(), project_dir=config.project_dir.resolve())
        self._report = report
        self._started_at = 0.0
        self._parts: dict[str, Part] = {}
        self._children: dict[str, Child] = {}
        self._starting: set[str] = set()
        self._undo = ExitStack()

    # Addresses and keys

    @property
    def url(self) -> str:
        return self.wiring.url

    @property
    def publishable_key(self) -> str:
        return self.wiring.secrets.publishable_key

    @property
    def secret_key(self) -> str:
        return self.wiring.secrets.secret_key

    @property
    def jwt_secret(self) -> str:
        return self.wiring.secrets.jwt_secret

    @property
    def db_url(self) -> str:
        return self.wiring.db_url

    @property
    def admin_db_url(self) -> str:
        return self.wiring.admin_db_url

    @property
    def redis_url(self) -> str:
        return self.wiring.redis_url

    @property
    def model_url(self) -> str:
        return self.wiring.model_url

    @property
    def intake_url(self) -> str:
        return self.wiring.intake_url

    def environment(self) -> dict[str, str]:
        return self.wiring.environment

    # Parts, while the stack runs

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(name for name, child in self._children.items() if child.running)

    def check(self) -> None:
        """PartDied when a part ended that nobody stopped."""
        self._processes.check()
        for child in self._children.values():
            child.check()

    def stop(self, name: str, grace_s: float = STOP_GRACE_S) -> None:
        """Asks a part to end and waits for it; kills it when it has not ended after the grace."""
        self._child(name).stop(grace_s)

    def kill(self, name: str) -> None:
        """Ends a part without a chance to tidy up."""
        self._child(name).kill()

    def start(self, name: str) -> None:
        """Starts a part that was stopped or killed, and waits until it serves."""
        if self._child(name).running:
            raise StackError(f"{name} is running")
        self._start_part(self._parts[name])

    def spawn_worker(self) -> str:
        """One more worker; its name."""
        number = 1 + sum(name.startswith("worker-") for name in self._parts)
        part = parts.worker(self.wiring, f"worker-{number}")
        self._start_part(part)
        return part.name

    def process_id(self, name: str) -> int:
        return self._child(name).pid

    def log(self, name: str) -> str:
        return self._child(name).log.read_text(errors="replace")

    def _child(self, name: str) -> Child:
        if name not in self._children:
            raise StackError(f"this stack has no part {name} (it has {', '.join(self._children)})")
        return self._children[name]

    # Starting and stopping

    def __enter__(self) -> Self:
        self._started_at = time.monotonic()
        with ExitStack() as undo:
            self._begin(undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _begin(self, undo: ExitStack) -> None:
        state_dir = self.config.state_dir
        require_node_modules()
        open_state(state_dir)
        lock = undo.enter_context(StateLock(state_dir))
        secrets = read_or_create_secrets(state_dir / SECRETS)
        self.wiring = Wiring(self.config, Ports(api=chosen_port(self.config.api_port)), secrets)
        self._processes = undo.enter_context(Children(state_dir / "logs"))
        undo.callback(self._stop_all)
        end_leftover_valkey(state_dir / "valkey")
        # Processes that have to load first do so while Postgres initialises and starts.
        for part in parts.chosen_parts(self.wiring):
            self._spawn(part)
        self._let_go(Begins.AT_ONCE)
        self._start_postgres()
        self._make_database()
        self._wait_until_they_serve(*self._parts)
        self.check()  # what listens may be another program on that port, and ours has died of it
        write_private(state_dir / ENVIRONMENT, json.dumps(self.wiring.operator_environment, indent=2))
        lock.announce(self.url)

    def _start_postgres(self) -> None:
        port = self.wiring.ports.postgres
        postgres = lodge_postgres(self.config.state_dir, self.config.postgres_major, port)
        end_leftover(postgres)
        initialise(postgres, self.wiring.secrets.admin_password)
        self._spawn(Part("postgres", postgres.command(), Begins.AT_ONCE, partial(accepts_connections, port)))

    def _make_database(self) -> None:
        # Imported here: psycopg takes 0.15 s to load, which Postgres needs to start anyway.
        import psycopg

        from worker.local import migrating, provisioning, selftest

        wiring = self.wiring
        self._wait_until_they_serve("postgres")
        with psycopg.connect(wiring.admin_db_url, autocommit=True) as connection:
            provisioning.make_platform(connection, wiring.secrets)
            self._let_go(Begins.WITH_THE_DATABASE)
            self._wait_until_they_serve("gateway")
            provisioning.open_auth(connection)
            provisioning.keep_in_vault(connection, "rowcall_webhook_url", wiring.webhook_url)
            provisioning.keep_in_vault(connection, "rowcall_webhook_secret", wiring.secrets.webhook_secret)
        migrating.apply_migrations(wiring.db_url, wiring.config.project_dir / "supabase" / "migrations")
        self._tell("migrations")
        self._let_go(Begins.WITH_THE_SCHEMA)
        selftest.check_row_level_security(wiring)
        self._tell("self-test")

    def _start_part(self, part: Part) -> None:
        self._spawn(part).let_go()
        self._wait_until_they_serve(part.name)

    def _spawn(self, part: Part) -> Child:
        self._parts[part.name] = part
        self._starting.add(part.name)
        self._children[part.name] = self._processes.spawn(part.name, part.command)
        return self._children[part.name]

    def _let_go(self, moment: Begins) -> None:
        for part in self._parts.values():
            if part.begins is moment:
                self._children[part.name].let_go()

    def _wait_until_they_serve(self, *names: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._look_who_serves().intersection(names):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(self._what_takes_so_long())
            time.sleep(0.01)

    def _look_who_serves(self) -> set[str]:
        """Those that still do not; each that does is reported once."""
        for name in sorted(self._starting):
            if self._parts[name].serves():
                self._starting.remove(name)
                self._tell(name)
        return self._starting

    def _what_takes_so_long(self) -> str:
        logs = (f"The end of the log of {name}:\n{self._children[name].log_tail()}" for name in sorted(self._starting))
        return "\n".join((f"not serving after {START_TIMEOUT_S:.0f} s: {', '.join(sorted(self._starting))}", *logs))

    def _stop_all(self) -> None:
        """In the opposite order of starting, so that nothing loses a server while it still needs one."""
        for moment in reversed(Begins):
            going = [self._children[name] for name, part in self._parts.items() if part.begins is moment]
            for child in going:
                child.ask_to_stop()
            deadline = time.monotonic() + STOP_GRACE_S
            for child in going:
                child.stop(max(0.0, deadline - time.monotonic()))

    def _tell(self, name: str) -> None:
        self._report(name, time.monotonic() - self._started_at)


def chosen_port(wanted: int | None) -> int:
    if wanted is None:
        return free_port()
    if not is_free(wanted):
        raise StackError(f"port {wanted} is taken: stop what listens there, or name another by --port")
    return wanted
