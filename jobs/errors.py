"""What can go wrong in a job, and what happens next.

| raised            | what happens                                                                        |
|-------------------|-------------------------------------------------------------------------------------|
| `Retryable`       | the row is queued again after a wait; when its tries are used up it fails with the code |
| `Postponed`       | the row is queued again after a wait; the attempt does not count as a try            |
| `Permanent`       | the row fails with the code                                                          |
| `Refused`         | the row is refused; the text is shown to the user                                    |
| `AttemptLost`     | nothing: another attempt has taken over, or the row was canceled                     |
| anything else     | a bug: one more attempt, then the row fails with `internal.unexpected`               |

Codes are `noun.adjective`, stable, and part of the interface. Messages are read by the row's owner: they never hold a
key, a prompt, or a provider's raw reply.
"""


class JobError(Exception):
    """An error that says what should happen next."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Retryable(JobError):
    """Another attempt may succeed. `wait_s`: not before so many seconds, where the other side said so."""

    def __init__(self, code: str, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(code, message)
        self.wait_s = wait_s


class Postponed(Retryable):
    """There is no room now: nothing was tried, and another attempt after `wait_s` seconds may find some."""


class Permanent(JobError):
    """No attempt can succeed."""


class Refused(JobError):
    """A policy's decision; `message` is a text for the user."""


class AttemptLost(JobError):
    """The attempt no longer holds its row: what it writes changes nothing."""

    def __init__(self, message: str) -> None:
        super().__init__("attempt.lost", message)


class Superseded(JobError):
    """The document changed while it was ingested; the change made a generation of its own, which will do the work."""

    def __init__(self, message: str) -> None:
        super().__init__("document.superseded", message)
