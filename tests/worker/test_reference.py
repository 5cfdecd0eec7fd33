"""The page and the messages that are made from worker/configuration.py."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.conftest import REPOSITORY
from worker.configuration import Configuration, Environment, TableSection, WorkerSection
from worker.reference import allowed, page
from worker.settings import ConfigurationError, load

ENVIRONMENT = {"SUPABASE_URL": "https://p.supabase.co", "SUPABASE_SECRET_KEY": "s", "OPENAI_API_KEY": "k"}
SHIPPED = (REPOSITORY / "rowcall.toml").read_text()


def test_the_page_is_up_to_date() -> None:
    written = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "run `make docs`"


def test_no_paragraph_of_the_page_is_indented_to_a_block_of_code() -> None:
    assert not [line for line in page().splitlines() if line.startswith("    ")]


def test_every_key_and_variable_says_what_it_means() -> None:
    for section in (*sections().values(), Environment):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"


def sections() -> dict[str, Any]:
    """The class of each table of rowcall.toml; of a table of tables, its members'."""
    annotations: dict[str, Any] = {name: field.annotation for name, field in Configuration.model_fields.items()}
    return {name: get_args(a)[1] if get_origin(a) is Mapping else a for name, a in annotations.items()}


def is_table_of_tables(name: str) -> bool:
    return get_origin(Configuration.model_fields[name].annotation) is Mapping


def test_the_shipped_file_shows_every_key() -> None:
    keys = "tenant_concurrency|max_tokens|price_weight|requests_per_min|tokens_per_min|provider|model|" + "|".join(
        TableSection.model_fields
    )
    commented = re.compile(rf"^# (?=\[limits|\[tables|(?:{keys}) =)", re.MULTILINE)
    uncommented = commented.sub("", SHIPPED)
    shipped = tomllib.loads(uncommented)
    for name, section in sections().items():
        table = shipped[name]
        members = table.values() if is_table_of_tables(name) else [table]
        shown = {key for member in members for key in member}
        assert shown == set(section.model_fields), name


def test_the_shipped_file_says_the_defaults() -> None:
    shipped = tomllib.loads(SHIPPED)
    for name in ("worker", "lanes", "sweeper", "retries", "intake", "internal", "broadcast", "classifier", "breaking"):
        assert sections()[name].model_validate(shipped[name]) == sections()[name](), name


@given(st.integers(min_value=-10, max_value=2000))
def test_what_is_said_to_be_allowed_is_what_is_accepted(value: int) -> None:
    field = WorkerSection.model_fields["concurrency"]
    assert allowed(field) == "a whole number from 1 to 1000"
    try:
        TypeAdapter(WorkerSection).validate_python({"concurrency": value})
    except ValidationError:
        assert not 1 <= value <= 1000
    else:
        assert 1 <= value <= 1000


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[worker]\nconcurrency = 0", "worker.concurrency must be a whole number from 1 to 1000 (it is 0)"),
        ("[worker]\nlease_s = 'x'", "worker.lease_s must be a number above 0 (it is 'x')"),
        ("[worker]\nconcurency = 5", "worker.concurency is not known; did you mean concurrency? (allowed:"),
        ("[wroker]\nconcurrency = 5", "wroker is not known; did you mean worker?"),
        ("[reranker]\nprovider = 'openai'", "reranker: provider and model go together; one of them is missing"),
        ("[reranker]\nprovider = 'nobody'\nmodel = 'm'", "reranker.provider must be a name of [providers]: openai"),
        ("[prices]\nx = 3", "prices.x must be a table (it is 3)"),
        ("[providers.p]\nbase_url = 'ftp://x'\napi_key_env = 'K'",
         "providers.p.base_url must be a URL that begins with http:// or https:// (it is 'ftp://x')"),
        ("[providers.p]\nbase_url = 'https://x'", "providers.p.api_key_env is missing; it must be a name of capitals"),
        ("[routes.best]\nprovider = 'nobody'\nmodel = 'm'\nmax_output_tokens = 1\ncontext_budget_tokens = 100",
         "routes.best.provider must be a name of [providers]: openai (it is 'nobody')"),
        ("[fallbacks.strong]\nerrors = ['strong']",
         "fallbacks.strong.errors must be other names of [routes], or 'cache': default, best, cache (it is 'strong')"),
        ("[fallbacks.nobody]\nerrors = []", "fallbacks.nobody must be a name of [routes]: default, strong, best"),
        ("[cascades.nobody]\nto = 'best'", "cascades.nobody must be a name of [routes]: default, strong, best"),
        ("[cascades.strong]\nto = 'strong'",
         "cascades.strong.to must be another name of [routes]: default, best (it is 'strong')"),
        ("[cascades.strong]\nto = 'default'",
         "cascades.default.to must not lead back (it does: default → strong → default)"),
        ("[cascades.strong]\nto = 'best'\nchecks = ['grammar']",
         "cascades.strong.checks must be a list, each one of ending, citations, ignorance, arithmetic (it is"),
        ("[rules.mine]\nroute = 'none'",
         "rules.mine.route must be a name of [routes]: default, strong, best (it is 'none')"),
        ("[rules.mine]\nroute = 'best'\nquality = ['good']",
         "rules.mine.quality must be a list, each one of auto, fast, best (it is 'good')"),
        ("[rules.mine]\nroute = 'best'\nkind = ['answer']", "rules.mine.kind is not known; did you mean kinds?"),
        ("[classifier]\nroutes = ['best']",
         "classifier.routes must be two names of [routes]: default, strong, best (it is ['best'])"),
        ("[fallbacks.best]\nerrors = 'strong'", "fallbacks.best.errors must be a list of texts (it is 'strong')"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_key_value_and_what_is_allowed(line: str, says: str, tmp_path: Path) -> None:
    table = line.partition("]")[0] + "]"
    kept = "\n\n".join(part for part in SHIPPED.split("\n\n") if not part.startswith(table))
    path = tmp_path / "rowcall.toml"
    path.write_text(f"{kept}\n{line}\n")
    with pytest.raises(ConfigurationError) as refused:
        load(ENVIRONMENT | {"ROWCALL_CONFIG": str(path)})
    assert str(refused.value).startswith(f"{path}: {says}")


def test_a_variable_s_mistake_shows_no_secret() -> None:
    wrong = {"ROWCALL_CONFIG": str(REPOSITORY / "rowcall.toml"), "ROWCALL_LOG": "loud", "REDIS_URL": "http://:pw@host"}
    with pytest.raises(ConfigurationError) as refused:
        load(ENVIRONMENT | wrong)
    assert "environment: ROWCALL_LOG must be one of json, console, auto (it is 'loud')" in str(refused.value)
    assert "environment: REDIS_URL must be a URL" in str(refused.value)
    assert "pw" not in str(refused.value)
