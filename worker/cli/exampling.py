"""Earlier answers that are shown to the model beside a question."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import ExitCode, act, fail
from worker.cli.options import STATE, JsonOption, StateOption
from worker.cli.projects import embedding_model, operator

examples = typer.Typer(no_args_is_help=True, help="Well-rated answers as examples: promote, learn, list, remove.")


@examples.command()
def promote(
    *,
    days: Annotated[int, typer.Option(min=1, metavar="DAYS", help="how old a rating may be")] = 30,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Makes examples of answers that their owners have rated up, each for its owner alone; then learns them.

    Made again it changes nothing. A rating that is taken back, a row that is
    erased and a passage that changes take their examples with them.
    """
    from worker.exampling import promote as promote_answers

    act(promote_answers(operator(state), days, _model(state), as_json=as_json))


@examples.command()
def learn(*, state: StateOption = STATE, as_json: JsonOption = False) -> None:
    """Embeds the examples that no question finds yet: those written by hand, or embedded by another model."""
    from worker.exampling import learn as learn_examples

    act(learn_examples(operator(state), _model(state), as_json=as_json))


@examples.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="ROWS", help="shown, the latest first")] = 20,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Whose examples there are, and whether questions find them; not what they say."""
    from worker.exampling import show_examples

    act(show_examples(operator(state), limit, embedding_model(state), as_json=as_json))


@examples.command()
def remove(
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="examples, as `list` shows them")],
    *,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Takes examples away. One that was promoted comes again only when its answer is rated anew."""
    from worker.exampling import remove as remove_examples

    act(remove_examples(operator(state), ids, as_json=as_json))


def _model(state: Path) -> str:
    model = embedding_model(state)
    if model is None:
        fail("no rowcall.toml here says by which model questions are embedded", ExitCode.CONFIGURATION)
    return model
