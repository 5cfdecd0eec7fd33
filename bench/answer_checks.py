"""What is visibly wrong with a cheap model's answer to a GSM8K question, without knowing the right one."""

import ast
import operator
import re
from collections.abc import Callable, Mapping

WORKED = re.compile(r"<<([0-9+\-*/.() ]+)=([0-9.\-]+)>>")  # the set's form: 15 + 25 = <<15+25=40>>40
OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def failed_checks(answer: str) -> int:
    """0 to 2: it has no result where the form wants one; one of its calculations is wrong."""
    return int("####" not in answer) + int(any(not _is_right(*worked) for worked in WORKED.findall(answer)))


def _is_right(term: str, result: str) -> bool:
    try:
        value, said = _value(ast.parse(term.strip(), mode="eval").body), float(result)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return False
    return abs(value - said) <= 0.011 * max(1.0, abs(said))  # answers round


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left), _value(right))
    raise ValueError("no arithmetic")
