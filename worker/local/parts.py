"""The parts of the stack as data: what each runs, when it may begin, and how one sees that it serves."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial

from worker.local.errors import StackError
from worker.local.node import FOLDER as NODE_FOLDER
from worker.local.node import find_node
from worker.local.ports import is_listening
from worker.local.processes import Command
from worker.local.valkey import answers, valkey_command
from worker.local.wiring import EXPOSED_SCHEMAS, Wiring

LOADER = "worker.local.child"
WORKER = "worker.app,worker.cli"
INTAKE = "worker.intake_app,worker.settings,worker.cli"


class Begins(Enum):
    """All processes are started at once, to load while Postgres starts. Most then wait to be let go."""

    AT_ONCE = "at once"
    WITH_THE_DATABASE = "when Postgres answers"
    WITH_THE_SCHEMA = "when the migrations are applied"


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    command: Command
    begins: Begins
    serves: Callable[[], bool]


def nothing_to_wait_for() -> bool:
    """It is of use whenever it gets going: what waits for it waits in the database."""
    return True


def valkey(wiring: Wiring) -> Part:
    port = wiring.ports.valkey
    command = valkey_command(wiring.state_dir / "valkey", port, wiring.secrets.valkey_password)
    return Part("valkey", command, Begins.AT_ONCE, partial(answers, port, wiring.secrets.valkey_password))


def gateway(wiring: Wiring) -> Part:
    ports = wiring.ports
    environment = wiring.supabase_environment | {
        "SUPABASE_JWT_SECRET": wiring.secrets.jwt_secret,
        "LOCAL_DB_URL": wiring.admin_db_url,
        "GATEWAY_DB_URL": wiring.gateway_db_url,
        "GATEWAY_PORT": str(ports.api),
        "REALTIME_PORT": str(ports.realtime),
        "EXPOSED_SCHEMAS": ",".join(EXPOSED_SCHEMAS),
    }
    command = node_command("gateway.mjs", environment)
    return Part("gateway", command, Begins.WITH_THE_DATABASE, partial(is_listening, ports.api))


def pg_net(wiring: Wiring) -> Part:
    environment = {"LOCAL_DB_URL": wiring.admin_db_url}
    command = node_command("pg_net.mjs", environment)
    return Part("pg_net", command, Begins.WITH_THE_DATABASE, nothing_to_wait_for)


def realtime(wiring: Wiring) -> Part:
    environment = wiring.supabase_environment | {
        "SUPABASE_JWT_SECRET": wiring.secrets.jwt_secret,
        "LOCAL_DB_URL": wiring.admin_db_url,
    }
    port = wiring.ports.realtime
    command = python_command(wiring, "worker.local.realtime_server", ("--port", str(port)), environment)
    return Part("realtime", command, Begins.WITH_THE_SCHEMA, partial(is_listening, port))


def models(wiring: Wiring) -> Part:
    port = wiring.ports.models
    command = python_command(wiring, "worker.local.model_server", ("--port", str(port)), {})
    return Part("models", command, Begins.AT_ONCE, partial(is_listening, port))


def intake(wiring: Wiring) -> Part:
    port = wiring.ports.intake
    command = python_command(wiring, INTAKE, ("intake", "--host", "127.0.0.1", "--port", str(port)), wiring.environment)
    return Part("intake", command, Begins.WITH_THE_SCHEMA, partial(is_listening, port))


def worker(wiring: Wiring, name: str) -> Part:
    command = python_command(wiring, WORKER, ("worker",), wiring.environment)
    return Part(name, command, Begins.WITH_THE_SCHEMA, nothing_to_wait_for)


OPTIONAL_PARTS: Mapping[str, Callable[[Wiring], Part]] = {
    "valkey": valkey,
    "models": models,
    "pg_net": pg_net,
    "realtime": realtime,
    "intake": intake,
}


def chosen_parts(wiring: Wiring) -> tuple[Part, ...]:
    """In the order in which they start; they stop in the opposite one."""
    config = wiring.config
    unknown = config.parts - OPTIONAL_PARTS.keys()
    if unknown:
        raise StackError(f"no such part: {', '.join(sorted(unknown))} (there are {', '.join(OPTIONAL_PARTS)})")
    return (
        gateway(wiring),
        *(make(wiring) for name, make in OPTIONAL_PARTS.items() if name in config.parts),
        *(worker(wiring, f"worker-{n}") for n in range(1, config.workers + 1)),
    )


def node_command(script: str, environment: Mapping[str, str]) -> Command:
    return Command((find_node(), script), {**environment, "DO_NOT_TRACK": "1"}, folder=NODE_FOLDER)


def python_command(wiring: Wiring, modules: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> Command:
    command = (sys.executable, "-m", LOADER, modules, *arguments)
    return Command(command, {**environment, "PYTHONUNBUFFERED": "1"}, folder=wiring.config.project_dir)
