"""One examination of a project, from the configuration to the models."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx

from worker.app import JOBS, check_vocabulary
from worker.doctor import judging, looking
from worker.doctor.findings import Finding, good, note, problem
from worker.doctor.looking import Api
from worker.doctor.tables import asked_about, judge_automations, judge_tables
from worker.reports import advised
from worker.settings import ConfigurationError, Settings, load

TIMEOUT_S = 10.0


async def examine(environ: Mapping[str, str], migrations: Path) -> AsyncIterator[Finding]:
    """Findings as they are made. `migrations`: the folder of those that this code needs."""
    try:
        settings = load(environ)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            yield problem("configuration", line, "docs/configuration.md lists every key and variable")
        return
    yield good("configuration", f"{environ.get('ROWCALL_CONFIG', 'rowcall.toml')} and the environment are valid")
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
        url, key = settings.environment.SUPABASE_URL, settings.environment.SUPABASE_SECRET_KEY.get_secret_value()
        api = Api(http, url, key)
        reached = judging.judge_api(await api.read("kinds", "kind"))
        yield reached
        if reached.check == "schema" and not reached.cure:
            async for finding in _database(api, settings, migrations):
                yield finding
            for finding in await _client(http, environ, settings):
                yield finding
        if reached.check != "project":
            yield await _realtime(api, url, environ.get("SUPABASE_PUBLISHABLE_KEY") or key)
        for finding in await _redis(settings):
            yield finding
        for finding in await _providers(http, settings):
            yield finding
    yield _vocabulary()


async def _database(api: Api, settings: Settings, migrations: Path) -> AsyncIterator[Finding]:
    challenge, began = uuid4().hex, time.time()
    answer = await api.call("examine_v1", {"challenge": challenge})
    if not answer.is_success:
        yield problem("migrations", f"examine_v1 answers {answer.message} ({answer.code})", judging.PUSH)
        return
    facts, middle = answer.body, (began + time.time()) / 2
    strangers = await api.call("visible_to_strangers_v1", {})
    yield judging.judge_migrations(facts["migrations"], shipped(migrations))
    yield judging.judge_extensions(facts)
    yield judging.judge_row_level_security(facts, strangers.body or 0)
    yield judging.judge_grants(facts)
    yield judging.judge_publication(facts)
    yield judging.judge_channel_policies(facts)
    yield judging.judge_clock(datetime.fromisoformat(facts["at"]).timestamp() - middle)
    unsent = judging.judge_vault(facts, settings.webhook_secrets, challenge)
    yield unsent or judging.judge_webhook(await looking.webhook_response(api), facts["webhook_url"])
    for finding in await _filled(api, settings, challenge):
        yield finding
    status = (await api.call("status_v1", {"window_s": 3600})).body
    yield judging.judge_embedding(settings.embedding.model, set(status["embedding_models"]))
    for line in advised(status):
        yield note("queue", line, "`rowcall status --watch` shows it live")


async def _filled(api: Api, settings: Settings, challenge: str) -> Sequence[Finding]:
    """The columns that fill themselves, by triggers and by `[tables]`."""
    automations = await api.call("automations_v2", {})
    if not automations.is_success:
        return [problem("automations", f"cannot be listed: {automations.message} ({automations.code})", judging.PUSH)]
    findings = list(judge_automations(automations.body, JOBS.keys()))
    sections = settings.configuration.tables
    if sections:
        arguments = {"tables": asked_about(settings.table_automations), "challenge": challenge}
        answer = await api.call("examine_tables_v1", arguments)
        if not answer.is_success:
            return [*findings, problem("tables", f"cannot be examined: {answer.message} ({answer.code})", judging.PUSH)]
        findings += judge_tables(answer.body, sections, settings.webhook_secrets, challenge, JOBS.keys())
    return findings


def shipped(migrations: Path) -> Sequence[str]:
    return [file.name.partition("_")[0] for file in sorted(migrations.glob("*.sql"))]


async def _client(http: httpx.AsyncClient, environ: Mapping[str, str], settings: Settings) -> Sequence[Finding]:
    key = environ.get("SUPABASE_PUBLISHABLE_KEY")
    if not key or not key.isascii():  # a placeholder
        cure = "set SUPABASE_PUBLISHABLE_KEY for this command"
        return [note("publishable key", "not set: the doctor could not ask as a browser does", cure)]
    client = Api(http, settings.environment.SUPABASE_URL, key)
    return [judging.judge_client(await client.call("status_v1", {"window_s": 1}))]


async def _realtime(api: Api, url: str, key: str) -> Finding:
    why = await looking.realtime_problem(api, url, key)
    if why is None:
        return good("realtime", "a broadcast reaches a subscriber")
    return problem(
        "realtime",
        f"clients do not hear of their answers: {why}",
        "is Realtime enabled for the project, and public access to channels (Settings → Realtime)? Until then clients "
        "re-read their row every 5 s",
    )


async def _redis(settings: Settings) -> Sequence[Finding]:
    info = await looking.redis_info(settings.environment.REDIS_URL)
    if isinstance(info, str):
        return [problem("redis", f"cannot be used: {info}", "check REDIS_URL: redis://[:password@]host:port/0")]
    return judging.judge_redis(info)


async def _providers(http: httpx.AsyncClient, settings: Settings) -> Sequence[Finding]:
    findings = []
    for name, provider in settings.providers.items():
        wanted = [(r.provider, r.model) for r in settings.routes.values()]
        wanted.append((settings.embedding.provider, settings.embedding.model))
        models = list(dict.fromkeys(model for provider_name, model in wanted if provider_name == name))
        key = provider.api_key.get_secret_value()
        request = http.build_request("GET", f"{provider.base_url}/models", headers={"authorization": f"Bearer {key}"})
        section = settings.configuration.providers.get(name)
        key_name = section.api_key_env if section else "ROWCALL_LOCAL_MODEL_URL"
        findings.append(judging.judge_provider(name, key_name, await looking.answered(http, request), models))
    return findings


def _vocabulary() -> Finding:
    try:
        check_vocabulary()
    except Exception as error:  # noqa: BLE001 - whatever keeps it from being read is the finding
        return problem(
            "vocabulary", f"tokens cannot be counted: {error}", "take worker/weights/ from the repository again"
        )
    return good("vocabulary", "o200k_base is here: counting tokens needs no network")
