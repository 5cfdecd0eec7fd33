"""The queues that `queue_peers.py` compares: how each is installed, started, and how many jobs it is measured with."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).with_name("peers")
INSTALLED = Path(".rowcall") / "bench-peers"  # thrown away with the folder; no dependency of the project's
BULLMQ = ("bullmq@6.7.0", "ioredis@5.11.1")
UVLOOP = "uvloop==0.23.0"


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    script: str
    requirements: tuple[str, ...]  # of a virtual environment of its own: peers need different versions of redis-py
    drain: int  # no-op jobs: a second or two of work
    slow_drain: int  # the same over the slow wire
    steady: int  # jobs of 50 ms
    mode: tuple[str, ...] = ()

    def command(self, *arguments: str) -> tuple[str, ...]:
        return (*self._runner(), *arguments, *self.mode)

    @property
    def folder(self) -> Path:
        return INSTALLED.absolute() / self.script.partition("_")[0]

    def _runner(self) -> tuple[str, str]:
        if self.script.endswith(".mjs"):
            return "node", str(self.folder / self.script)
        return str(self.folder / "bin" / "python") if self.requirements else sys.executable, str(PEERS / self.script)


PEERS_MEASURED = (
    Peer("arq stock", "arq_peer.py", ("arq==0.28.0", "redis[hiredis]==5.3.1", UVLOOP), 400, 100, 300, ("stock",)),
    Peer("arq tuned", "arq_peer.py", ("arq==0.28.0", "redis[hiredis]==5.3.1", UVLOOP), 4000, 150, 2000, ("tuned",)),
    Peer("saq", "saq_peer.py", ("saq[redis,hiredis]==0.26.4", "typing_extensions==4.16.0", UVLOOP), 4000, 1500, 3000),
    Peer("taskiq stream", "taskiq_peer.py", ("taskiq==0.13.0", "taskiq-redis==1.2.4", UVLOOP), 6000, 3000, 3000),
    Peer("streaq", "streaq_peer.py", ("streaq==7.2.0", UVLOOP), 3000, 1500, 2000),
    Peer("bullmq", "bullmq_peer.mjs", BULLMQ, 40_000, 10_000, 4000),
    Peer("rowcall", "rowcall_peer.py", (), 40_000, 20_000, 4000),
)


def install(peer: Peer) -> None:
    """Once: what is there already stays."""
    folder = peer.folder
    marker = folder / ".installed"
    wanted = "\n".join(peer.requirements)
    if not peer.requirements or (marker.exists() and marker.read_text() == wanted):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if peer.script.endswith(".mjs"):
        subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), *peer.requirements], check=True)
        shutil.copy(PEERS / peer.script, folder)  # Node looks for packages beside the script
    else:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet")
        subprocess.run([*pip, *peer.requirements], check=True)
    marker.write_text(wanted)
