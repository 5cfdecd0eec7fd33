"""What is visibly wrong with a cheap model's answer to a GSM8K question, without knowing the right one."""

import re

from jobs.decisions.calculating import calculations
from jobs.decisions.checking import Answer, failed_checks

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
RESULT = re.compile(r"####\s*\$?(-?[\d,.]+)")  # the set's form: the result stands behind this mark, in the last line


def doubts(answer: str) -> int:
    """0 to 5: the product's checks of ending and arithmetic fail; there is no result where the set's form wants one; it
    is not what was calculated last; a calculation gives no whole number, where questions ask for things and money.
    """
    result, calculated = _result(answer), _calculated(answer)
    return len(failed_checks(Answer(answer, "stop"), ("ending", "arithmetic"))) + sum(
        (
            "####" not in answer,
            result is not None and bool(calculated) and abs(result - calculated[-1]) > 1e-6,
            any(value != int(value) for value in calculated),
        )
    )


def _result(answer: str) -> float | None:
    found = RESULT.search(answer)
    return float(number[0].replace(",", "")) if found and (number := NUMBER.search(found[1])) else None


def _calculated(answer: str) -> list[float]:
    """What its calculations give; of `2/3` the last number."""
    numbers = (NUMBER.findall(calculation.result) for calculation in calculations(answer))
    return [float(found[-1].replace(",", "")) for found in numbers if found]
