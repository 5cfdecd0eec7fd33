"""Many workers at once, on connections of their own. What they do is committed; it goes with its user."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Barrier
from typing import Any, TypeVar

import psycopg
import pytest

from tests.sql.conftest import Connections
from tests.sql.session import jsonb

WORKERS = 16
ROWS = 120
ROUNDS = 6
Result = TypeVar("Result")
QUESTION = jsonb({"question": "why?"})


@dataclass(frozen=True, slots=True)
class Crowd:
    """Rows of one user, and connections to work on them."""

    connections: Connections
    user_id: str

    def insert(self, rows: int) -> list[str]:
        with self.connections.open() as connection:
            made = connection.execute(
                """with made as (insert into rowcall.generations (user_id, input)
                                 select %s, %s from generate_series(1, %s) returning id) select id::text from made""",
                (self.user_id, QUESTION, rows),
            )
            return [row[0] for row in made]

    def together(self, act: Callable[[psycopg.Connection[Any], int], Result]) -> list[Result]:
        """What each worker's `act(connection, number)` returned; all begin at the same moment."""
        ready = Barrier(WORKERS)

        def run(number: int) -> Result:
            with self.connections.open() as connection:
                ready.wait()
                return act(connection, number)

        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(run, range(WORKERS)))

    def contradictions(self) -> list[Any]:
        """Attempts that are open though their row is not running them, or the reverse; tenants whose calls were booked
        twice, or not at all.
        """
        with self.connections.open() as connection:
            attempts = connection.execute(
                """select g.id, g.status, g.attempt, a.attempt, a.outcome
                     from rowcall.generations g join rowcall.attempts a on a.generation_id = g.id
                    where g.user_id = %s
                      and (a.outcome is null) is distinct from (g.status = 'running' and a.attempt = g.attempt)""",
                (self.user_id,),
            ).fetchall()
            spend = connection.execute(
                """select s.calls, count(c.id) from rowcall.spend s
                     left join rowcall.calls c on c.tenant = s.tenant and c.status = 'succeeded'
                    where s.tenant = %s group by s.calls having s.calls <> count(c.id)""",
                (self.user_id,),
            ).fetchall()
            return attempts + spend


@pytest.fixture
def crowd(connections: Connections) -> Iterator[Crowd]:
    with connections.open() as connection:
        made = connection.execute(
            "insert into auth.users (id, email) values (gen_random_uuid(), null) returning id::text"
        )
        (user_id,) = made.fetchone() or ("",)
        yield Crowd(connections, user_id)
        connection.execute("delete from auth.users where id = %s", (user_id,))


def claim(
    connection: psycopg.Connection[Any], ids: list[str], worker: int, *, lease_s: float = 60.0
) -> list[tuple[str, int]]:
    claimed = connection.execute(
        "select id::text, attempt from rowcall.claim_generations_v1(%s::uuid[], %s, %s, %s::jsonb[])",
        (ids, f"w{worker}", lease_s, [jsonb({"kind": "answer", "purpose": "embed"})]),
    )
    return [(id, attempt) for id, attempt in claimed]


def test_concurrent_claims_give_every_row_to_one_worker(crowd: Crowd) -> None:
    """A claim that locked and looked in one statement would not see the lease that another had just committed."""
    for _ in range(3):
        ids = crowd.insert(ROWS)

        def act(connection: psycopg.Connection[Any], number: int, ids: list[str] = ids) -> list[tuple[str, int]]:
            chance = random.Random(number)
            return [won for _ in range(3) for won in claim(connection, chance.sample(ids, len(ids)), number)]

        won = Counter(id for wins in crowd.together(act) for id, _ in wins)
        assert won == Counter(ids)


class Turmoil:
    """One worker that writes to its own rows and, by mistake, to everybody's, always in another order."""

    def __init__(self, connection: psycopg.Connection[Any], number: int, crowd_ids: list[str]) -> None:
        self.did = Counter[str]()
        self._connection = connection
        self._number = number
        self._ids = crowd_ids
        self._chance = random.Random(number)

    def run(self) -> None:
        lease_s = self._chance.choice([0.0, 60.0])  # half of the attempts may be taken over at once
        claimed = claim(self._connection, self._some(ROWS), self._number, lease_s=lease_s)
        mine = [{"id": id, "attempt": attempt} for id, attempt in claimed]
        self.did["claim"] += len(mine)
        self._connection.execute(
            "select * from rowcall.renew_generations_v1(%s, 60, %s::uuid[])",
            (f"w{self._number}", [entry["id"] for entry in mine]),
        )
        closings = self._closings()
        third = len(mine) // 3
        self._write("checkpoint_generations_v1", "checkpoints", mine + self._foreign(), {"partial": "x", "offset": 1})
        results = {"status": "succeeded", "answer": "a", "calls": closings[:40]}
        self._write("finish_generations_v4", "results", mine[:third] + self._foreign(), results)
        self._write(
            "retry_generations_v1", "retries", mine[third : 2 * third] + self._foreign(), {"calls": closings[40:60]}
        )
        self._write("release_generations_v1", "releases", mine[2 * third :] + self._foreign(), {})

    def meddle(self, user_id: str) -> None:
        """As the owner, who cancels a row and now and then deletes one."""
        with self._connection.transaction():
            self._connection.execute("select set_config('request.jwt.claim.sub', %s, true)", (user_id,))
            verb = self._chance.choice(["cancel", "cancel", "delete"])
            self._connection.execute(f"select rowcall.{verb}_generation(%s)", (self._chance.choice(self._ids),))

    def replay(self) -> None:
        self._connection.execute("select * from rowcall.replay_generations_v2(%s::uuid[])", (self._some(30),))

    def _some(self, many: int) -> list[str]:
        return self._chance.sample(self._ids, many)

    def _foreign(self) -> list[dict[str, Any]]:
        return [{"id": id, "attempt": self._chance.randint(1, 3)} for id in self._some(20)]

    def _closings(self) -> list[dict[str, Any]]:
        calls = self._connection.execute(
            "select id::text from rowcall.calls where generation_id = any(%s::uuid[]) and status = 'open'", (self._ids,)
        ).fetchall()
        self._chance.shuffle(calls)
        return [{"id": call, "status": "succeeded", "cost_usd": 0.001} for (call,) in calls]

    def _write(self, function: str, argument: str, entries: list[dict[str, Any]], given: dict[str, Any]) -> None:
        self._chance.shuffle(entries)
        rows = [jsonb(entry | given) for entry in entries]
        answers = self._connection.execute(f"select * from rowcall.{function}({argument} => %s::jsonb[])", (rows,))
        self.did[function.split("_", maxsplit=1)[0]] += len(answers.fetchall())


def test_shuffled_batches_of_every_verb_never_deadlock(crowd: Crowd) -> None:
    """PostgREST repeats 40P01 without end, so there must be none: any error of any worker fails the test."""
    ids = crowd.insert(ROWS)

    def act(connection: psycopg.Connection[Any], number: int) -> Counter[str]:
        turmoil = Turmoil(connection, number, ids)
        for _ in range(ROUNDS):
            turmoil.run()
            turmoil.meddle(crowd.user_id)
            turmoil.replay()
        return turmoil.did

    did = sum(crowd.together(act), Counter[str]())
    assert all(did[verb] for verb in ("claim", "checkpoint", "finish", "retry", "release"))
    assert crowd.contradictions() == []


def test_of_concurrent_inserts_with_one_key_one_is_a_row(crowd: Crowd) -> None:
    def act(connection: psycopg.Connection[Any], _: int) -> int:
        inserted = connection.execute(
            """insert into rowcall.generations (user_id, input, idempotency_key) values (%s, %s, 'k')
               on conflict (user_id, idempotency_key) do nothing""",
            (crowd.user_id, QUESTION),
        )
        return inserted.rowcount

    assert sum(crowd.together(act)) == 1


def test_of_an_end_and_a_takeover_at_the_same_moment_one_wins(crowd: Crowd) -> None:
    """However a finish and the claim of another worker interleave, the row never has two owners nor two ends."""
    ids = crowd.insert(ROWS)
    with crowd.connections.open() as connection:
        claim(connection, ids, 99)
        connection.execute(
            "update rowcall.attempts set lease_until = now() where generation_id = any(%s::uuid[])", (ids,)
        )

    def act(connection: psycopg.Connection[Any], number: int) -> tuple[int, int]:
        mine = random.Random(number // 2).sample(ids, len(ids))
        if number % 2:
            return 0, len(claim(connection, mine, number))
        results = [jsonb({"id": id, "attempt": 1, "status": "succeeded"}) for id in mine]
        answers = connection.execute("select accepted from rowcall.finish_generations_v4(%s::jsonb[])", (results,))
        return sum(accepted for (accepted,) in answers), 0

    outcomes = crowd.together(act)
    ended, taken = (sum(numbers) for numbers in zip(*outcomes, strict=True))
    assert ended + taken == ROWS


def test_examples_are_those_of_good_ratings_whatever_is_rated_and_erased_meanwhile(crowd: Crowd) -> None:
    """An operator promotes while owners rate, take back and erase; nobody waits for anybody until a deadlock."""
    with crowd.connections.open() as connection:
        made = connection.execute(
            """with made as (
                 insert into rowcall.generations (user_id, kind, input, status, answer, finished_at)
                 select %s, 'complete', jsonb_build_object('prompt', 'p', 'question', format('Question %%s?', n / 2)),
                        'succeeded', 'Yes.', now()
                   from generate_series(1, %s) n returning id) select id::text from made""",
            (crowd.user_id, ROWS),
        )
        ids = [row[0] for row in made]

    def rate(connection: psycopg.Connection[Any], id: str, rating: int) -> None:
        with suppress(psycopg.errors.ForeignKeyViolation):  # erased at this moment: its owner is told so
            connection.execute(
                """insert into rowcall.feedback (generation_id, user_id, rating)
                   select g.id, g.user_id, %s from rowcall.generations g where g.id = %s
                   on conflict (generation_id, user_id) do update set rating = excluded.rating""",
                (rating, id),
            )

    def act(connection: psycopg.Connection[Any], number: int) -> None:
        chance = random.Random(number)
        for id in chance.sample(ids, ROWS // 2):
            match chance.randrange(6):
                case 0:
                    connection.execute("select rowcall.promote_examples_v1('2000-01-01')")
                case 1:
                    connection.execute("delete from rowcall.feedback where generation_id = %s", (id,))
                case 2:
                    rate(connection, id, -1)
                case 3 if number % 4 == 0:
                    with connection.transaction():
                        connection.execute(
                            "select set_config('request.jwt.claim.sub', %s, true), rowcall.delete_generation(%s)",
                            (crowd.user_id, id),
                        )
                case _:
                    rate(connection, id, 1)

    crowd.together(act)
    with crowd.connections.open() as connection:
        connection.execute("select rowcall.promote_examples_v1('2000-01-01')")
        wrong = connection.execute(
            """select e.question, count(*), bool_and(rowcall.is_well_rated(e.generation_id, e.user_id))
                 from rowcall.examples e where e.user_id = %s group by 1
               having count(*) > 1 or not bool_and(rowcall.is_well_rated(e.generation_id, e.user_id))""",
            (crowd.user_id,),
        ).fetchall()
        missing = connection.execute(
            """select g.input ->> 'question' from rowcall.generations g
                where g.user_id = %s and rowcall.is_well_rated(g.id, g.user_id)
               except select e.question from rowcall.examples e where e.user_id = %s""",
            (crowd.user_id, crowd.user_id),
        ).fetchall()
    assert (wrong, missing) == ([], [])
