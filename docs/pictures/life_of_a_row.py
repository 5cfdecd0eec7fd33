"""Draws life-of-a-row.svg, beside this file: who sends what to whom, from the insert to the answer."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

PICTURE = Path(__file__).with_name("life-of-a-row.svg")
LANES = {"client": 90, "Postgres": 300, "intake": 490, "Redis": 620, "worker": 770, "model": 930}
WIDTH, TOP, STEP = 1010, 84, 46


@dataclass(frozen=True, slots=True)
class Message:
    sender: str
    receiver: str
    text: str
    note: str = ""
    is_hint: bool = False  # may be lost, doubled or late without harm


@dataclass(frozen=True, slots=True)
class State:
    """What the row says from here on."""

    text: str


STORY = (
    Message("client", "Postgres", "insert a row"),
    State("queued"),
    Message("Postgres", "intake", "signed webhook", "after commit", is_hint=True),
    Message("intake", "Redis", "hint", is_hint=True),
    Message("Redis", "worker", "hint", is_hint=True),
    Message("worker", "Postgres", "claim: attempt 1, lease 15 s", "the attempt's number fences every write"),
    State("running"),
    Message(
        "worker", "Postgres", "context, read as the row's owner", "row level security filters it; opens the ledger row"
    ),
    Message("worker", "model", "prompt"),
    Message("model", "worker", "text, token by token"),
    Message("worker", "client", "deltas, through Realtime", "lost ones: the client re-reads", is_hint=True),
    Message("worker", "Postgres", "finish: answer, citations, cost", "and the column of your table, for automations"),
    State("succeeded"),
    Message("Postgres", "client", "done"),
)
SWEEPER = "lost on the way? the sweeper finds the row, 1 to 2 s later; a killed worker's, when its lease has ended"
STYLE = """
  text { font: 13px ui-sans-serif, system-ui, 'Segoe UI', sans-serif; fill: #1f2328 }
  .lane { font-weight: 600; text-anchor: middle } .note { font-size: 11px; fill: #59636e }
  .line { stroke: #d1d9e0; stroke-width: 1 } .sent { stroke: #1f6feb; stroke-width: 1.6; fill: none }
  .hint { stroke-dasharray: 5 4 } .head { fill: #1f6feb } .box { fill: #f6f8fa; stroke: #d1d9e0 }
  .state { fill: #dafbe1; stroke: #4ac26b } .paper { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .note { fill: #9198a1 } .line { stroke: #3d444d } .sent { stroke: #4493f8 }
    .head { fill: #4493f8 } .box { fill: #151b23; stroke: #3d444d } .state { fill: #12261e; stroke: #238636 }
    .paper { fill: #0d1117 }
  }
"""


def drawn() -> str:
    height = TOP + STEP * sum(isinstance(part, Message) for part in STORY) + 30
    title = "The life of a row, from the insert to the answer"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
        *(lane(name, x, height) for name, x in LANES.items()),
    ]
    y = TOP
    for part in STORY:
        if isinstance(part, State):
            parts.append(state(part, y - STEP + 20))
        else:
            parts.append(message(part, y))
            y += STEP
    parts.append(f'<text class="note" x="{WIDTH / 2:g}" y="{height - 16}" text-anchor="middle">- - -  {SWEEPER}</text>')
    return "\n".join([*parts, "</svg>", ""])


def lane(name: str, x: int, height: int) -> str:
    return (
        f'<line class="line" x1="{x}" y1="46" x2="{x}" y2="{height - 40}"/>'
        f'<rect class="box" x="{x - 48}" y="16" width="96" height="30" rx="6"/>'
        f'<text class="lane" x="{x}" y="36">{name}</text>'
    )


def message(m: Message, y: int) -> str:
    start, end = LANES[m.sender], LANES[m.receiver]
    way = 1 if end > start else -1
    left = min(start, end) + 10
    head = f"{end},{y} {end - 8 * way},{y - 4} {end - 8 * way},{y + 4}"
    note = f'<text class="note" x="{left}" y="{y + 15}">{escape(m.note)}</text>' if m.note else ""
    return (
        f'<path class="sent{" hint" if m.is_hint else ""}" d="M{start} {y} H{end - 6 * way}"/>'
        f'<polygon class="head" points="{head}"/><text x="{left}" y="{y - 7}">{escape(m.text)}</text>{note}'
    )


def state(s: State, y: int) -> str:
    x = LANES["Postgres"] - 98
    return (
        f'<rect class="state" x="{x}" y="{y - 9}" width="86" height="20" rx="10"/>'
        f'<text x="{x + 43}" y="{y + 5}" text-anchor="middle">{s.text}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
