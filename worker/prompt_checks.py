"""What is wrong with prompt files, before a worker reads them."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from jobs.decisions.prompting import Template

PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}|\{%.*?%\}")


@dataclass(frozen=True, slots=True)
class CheckedPrompt:
    """A prompt file. `version` is what rows record as their prompt_version."""

    name: str
    version: str | None  # None: it cannot be read
    tokens: int
    problems: tuple[str, ...]


def check_prompts(folder: Path, jobs: Collection[str], count_tokens: Callable[[str], int]) -> tuple[CheckedPrompt, ...]:
    """Every prompt file of the folder, by name. `jobs`: their kinds."""
    return tuple(_checked(path, jobs, count_tokens) for path in sorted(folder.glob("*.md")))


def _checked(path: Path, jobs: Collection[str], count_tokens: Callable[[str], int]) -> CheckedPrompt:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return CheckedPrompt(path.stem, None, 0, (f"byte {error.start} is no UTF-8",))
    problems = text_problems(text)
    if path.stem not in jobs:
        problems = (*problems, f"no job is named {path.stem}: rename one of them, or remove the prompt")
    return CheckedPrompt(path.stem, Template.of(path.stem, text).version, count_tokens(text), problems)


def text_problems(text: str) -> tuple[str, ...]:
    """What is wrong with a prompt's text. Prompts have no placeholders: a prefix that is the same for all rows is what
    providers cache, and what differs stands in the last message.
    """
    found = [] if text.strip() else ["it is empty"]
    for placeholder in dict.fromkeys(PLACEHOLDER.findall(text)):
        line = text[: text.index(placeholder)].count("\n") + 1
        found.append(f"line {line}: nothing fills {placeholder}: the job puts what differs into the last message")
    if text != text.rstrip("\n") + "\n" and text.strip():
        found.append("it should end with one line feed: others change its version, and nothing else")
    return tuple(found)
