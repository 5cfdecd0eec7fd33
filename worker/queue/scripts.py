"""The Lua scripts of this folder. Each says in its header what its keys, arguments and reply are."""

from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

LANES = ("interactive", "bulk")  # as in lanes.lua, and in the constraint generations_lane_check


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", sha1(self.text.encode(), usedforsecurity=False).hexdigest())


def read_script(name: str) -> Script:
    """A script that works on the queue: `lanes.lua` stands before it."""
    return Script(_text("lanes") + "\n" + _text(name))


def _text(name: str) -> str:
    return Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8")
