class StackError(RuntimeError):
    """The embedded stack cannot start or go on; the text says what to do about it."""


class PartDied(StackError):
    """A part ended by itself."""

    def __init__(self, name: str, exit_code: int, log_tail: str) -> None:
        self.name = name
        self.exit_code = exit_code
        self.log_tail = log_tail
        super().__init__(f"{name} ended with exit code {exit_code}. The end of its log:\n{log_tail or '(empty)'}")
