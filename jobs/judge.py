"""How well an answer answers its question, by a model's reading: what `rowcall eval --judge` asks for."""

import json

from jobs.completions import Asked, complete_by
from jobs.decisions.prompting import Message
from jobs.decisions.scoring import GRADES, grade_in
from jobs.errors import Permanent
from jobs.ports import Finished, Work, World
from jobs.routes import chosen_route


async def judge(work: Work, world: World) -> Finished:
    """`output.score`, 0 to 1, for `input.answer` to `input.question`, beside `input.references` where there are some.

    The answer is the model's reasons. Raises Permanent where it gives no grade.
    """
    chosen, template = chosen_route(work, work.input["question"], world), world.prompts["judge"]
    # As JSON: whatever the answer says, it cannot leave its quotes.
    judged = json.dumps({key: work.input.get(key) for key in ("question", "references", "answer")}, ensure_ascii=False)
    asked = Asked("judge", (Message("system", template.text), Message("user", judged)))
    completion = await complete_by(chosen.route, asked, work, world, opened=work.first_call)
    grade = grade_in(completion.text)
    if grade is None:
        raise Permanent("judge.unreadable", "the judging model gave no grade")
    return Finished(
        answer=completion.text,
        output={"score": grade / GRADES, "warnings": list(completion.warnings)},
        route=completion.route,
        route_reason=completion.reason(chosen.reason),
        prompt_version=template.version,
    )
