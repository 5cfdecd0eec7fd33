"""`rowcall ingest --reembed`: after a change of the embedding model, documents are embedded by the new one."""

from collections.abc import Sequence

from rich.console import Console

from worker.client import Rowcall
from worker.commands import progress_bar, show_ingested
from worker.ingests import Ingested, Ingests, Report
from worker.operating import Operator

PAGE = 100  # documents in one call
FIRST = "00000000-0000-0000-0000-000000000000"


async def reembed_documents(operator: Operator, embedding_model: str, *, with_units: bool, as_json: bool) -> bool:
    """Whether every document can be searched by that model now. `with_units`: and has vectors of its sentences."""
    with progress_bar(Console(stderr=True, quiet=as_json)) as report:
        ingested = await reembed(operator, embedding_model, report, with_units=with_units)
    console = Console(quiet=as_json)
    console.print(f"[dim]{operator.project}[/dim]", soft_wrap=True)
    if not ingested:
        console.print(f"every document is embedded by {embedding_model}")
    return show_ingested(ingested, as_json=as_json)


async def reembed(
    operator: Operator, embedding_model: str, report: Report, *, with_units: bool = False
) -> Sequence[Ingested]:
    """Ingests every document of the project that has a chunk of another model, or, `with_units`, one whose sentences
    are not embedded; only such chunks cost an embedding.

    One that is done is not found again, so what was stopped goes on where it was.
    """
    async with operator.connected() as operations, Rowcall(operator.url, operator.secret_key) as project:
        found = await operations.documents_to_reembed(embedding_model, with_units=with_units)
        ingests = Ingests(found, project.ended_among, report)
        after = FIRST
        while page := await operations.reembed(embedding_model, after, PAGE, with_units=with_units):
            after = page[-1]["id"]
            for document in page:
                ingests.wait_for(document["generation_id"], document["source"] or document["id"])
            await ingests.make_room()
        return await ingests.all_ended()
