"""rowcall.toml and the environment, as values: what may stand there, and what it means.

docs/configuration.md and the messages of `ConfigurationError` are made from these classes (worker/reference.py).
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from jobs.decisions.checking import Check
from jobs.decisions.falling_back import CACHE

Positive = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
Price = Annotated[float, Field(ge=0)]
Places = Annotated[int, Field(ge=1, le=1000)]
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkerSection(Section):
    """A worker process."""

    concurrency: Places = Field(default=50, description="generations that one worker runs at once")
    lease_s: Positive = Field(default=15.0, description="a killed worker's rows run again after this long")
    grace_s: Positive = Field(
        default=30.0, description="after SIGTERM: how long running answers may finish before they are handed back"
    )
    checkpoint_every_s: Positive = Field(
        default=2.0, description="how often the text so far is saved for clients that lost the stream"
    )
    attempt_timeout_s: Positive = Field(default=600.0, description="no attempt takes longer")
    tenant_concurrency: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="generations of one tenant that run at once in the whole fleet; left out: no limit"
    )


class LanesSection(Section):
    """Shares of the places while both lanes have rows; an empty lane's share is the other's."""

    interactive: Places = Field(default=4, description="share of rows that a person waits for")
    bulk: Places = Field(default=1, description="share of ingests, automations and other background work")


class SweeperSection(Section):
    """One sweeper in the fleet brings rows that no webhook brought, or that a worker lost."""

    interval_s: Positive = Field(default=1.0, description="how often it looks")
    grace_s: Annotated[float, Field(ge=0)] = Field(default=1.0, description="how long a row is left to its webhook")
    page: Annotated[int, Field(ge=1, le=10_000)] = Field(default=500, description="rows in one look")


class RetriesSection(Section):
    """What is tried again, how often, and after which pause."""

    max_tries: Annotated[int, Field(ge=1)] = Field(
        default=5, description="claims of a row before a retryable error becomes final"
    )
    max_tries_of_bugs: Annotated[int, Field(ge=1)] = Field(default=2, description="the same after an unexpected error")
    max_losses: Annotated[int, Field(ge=1)] = Field(
        default=3, description="a row whose worker dies, or is lost, this often fails as `attempt.poisoned`"
    )
    backoff_base_s: Positive = Field(
        default=1.0,
        description="full jitter: the pause is uniform between 0 and base · 2^(tries - 1), or the cap if that is less",
    )
    backoff_cap_s: Positive = Field(
        default=60.0, description="the longest pause that we choose; a provider's Retry-After may be longer"
    )


class IntakeSection(Section):
    """Where database webhooks arrive."""

    host: Text = Field(default="0.0.0.0", description="address to listen on")
    port: Port = Field(default=8080, description="port to listen on")
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=1_048_576, description="larger bodies are answered 413"
    )
    max_backlog: Annotated[int, Field(ge=1)] = Field(
        default=100_000, description="hints in Redis above which webhooks are answered 503; the rows stay queued"
    )


class InternalSection(Section):
    """Health (`/livez`, `/readyz`) and `/metrics` of intake and of every worker. Not for the internet."""

    host: Text = Field(default="127.0.0.1", description="address to listen on; in a container 0.0.0.0")
    port: Port = Field(default=0, description="port to listen on; 0: a free one, which is logged")


class BroadcastSection(Section):
    """Deltas to watching clients."""

    interval_s: Positive = Field(default=0.04, description="deltas of all rows that meet within it share one request")
    messages_per_s: Annotated[int, Field(ge=1)] = Field(
        default=400,
        description="of the whole fleet. A hosted project takes 100 (Free), 500 (Pro) or 2,500 (Team), delivered "
        "ones included, and drops what is above",
    )


class ProviderSection(Section):
    """Anything that speaks OpenAI's chat completions and embeddings."""

    base_url: Annotated[str, Field(pattern=r"^https?://")] = Field(description="where its API begins")
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = Field(
        description="the environment variable that holds its key"
    )


class EmbeddingSection(Section):
    """The model that embeds chunks and questions. What it wrote, it must also search."""

    provider: Text = Field(description="a name of `[providers]`")
    model: Text = Field(description="as the provider calls it")
    sends_dimensions: bool = Field(
        default=False, description="whether the model takes `dimensions`; the schema holds vectors of 384"
    )
    sentences: bool = Field(
        default=False,
        description="whether an ingest embeds each sentence too, for about twice the tokens: passages of which a "
        "quarter or less is kept hold the answer a little more often. Turned on later, `rowcall ingest --reembed` "
        "adds them",
    )


class RetrievalSection(Section):
    """What an answer takes from documents. docs/quality.md says what the defaults are worth; `rowcall eval` what others
    are on your own questions.
    """

    candidates: Annotated[int, Field(ge=1, le=200)] = Field(
        default=30, description="chunks from each of the two searches, by meaning and by words"
    )
    passages: Annotated[int, Field(ge=1, le=100)] = Field(
        default=8, description="the most of them in a prompt; `context_budget_tokens` of the route limits their length"
    )
    words_weight: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.35, description="of the match of words; the rest is the weight of meaning"
    )


class FewShotSection(Section):
    """Examples that are shown beside a question: answers that their owner rated well, and those written by hand."""

    limit: Annotated[int, Field(ge=0, le=20)] = Field(default=2, description="the most in a prompt; 0: none")
    budget_tokens: Annotated[int, Field(ge=1)] = Field(default=400, description="of all of them together")


class RerankerSection(Section):
    """A model that reads the question together with each of the 24 best passages, and puts them in order. It speaks
    `POST /rerank` as Cohere, Jina, vLLM and LiteLLM do. Where it fails, the passages keep their order.
    """

    provider: Text | None = Field(default=None, description="a name of `[providers]`; left out: no reranker")
    model: Text | None = Field(default=None, description="as the provider calls it; left out with the provider")
    timeout_s: Positive = Field(default=3.0, description="of one reading; an answer waits for it")


class RouteSection(Section):
    """A way to answer. Jobs name routes, never models; there must be one named `default`."""

    provider: Text = Field(description="a name of `[providers]`")
    model: Text = Field(description="as the provider calls it")
    max_output_tokens: Annotated[int, Field(ge=1)] = Field(
        description="longest answer; a row's options may ask for less"
    )
    context_budget_tokens: Annotated[int, Field(ge=100)] = Field(description="of retrieved text in a prompt")
    first_token_timeout_s: Positive = Field(
        default=20.0, description="a model that has said nothing by then is tried again"
    )
    total_timeout_s: Positive = Field(default=120.0, description="of one model call")


class CacheSection(Section):
    """Answers that are given again. Only within a tenant, to an asker who may read every passage that the answer was
    made from, for the same kind, prompt file, route, limits and filter, and never with history.
    """

    mode: Literal["off", "exact", "semantic"] = Field(
        default="off",
        description="exact: the model would be asked the same; semantic: also questions that mean the same",
    )
    min_probability: Annotated[float, Field(ge=0.5, le=1)] = Field(
        default=0.9, description="that two questions ask the same, for semantic: docs/quality.md says what it is worth"
    )
    ttl_s: Positive = Field(default=86_400.0, description="how long an answer is fresh")
    stale_s: Annotated[float, Field(ge=0)] = Field(
        default=604_800.0,
        description="how much longer it is kept for when models fail: where `cache` stands in a chain of `[fallbacks]`",
    )


class FallbackSection(Section):
    """Who is asked when the route of this name fails: names of `[routes]`, in this order, one list a cause; or
    `cache`, an answer that was given before to the same question, stale ones included.

    A route has its own chains, and a rule picks the route: so who goes first, another model or the cache, may differ by
    kind, tag or size of a question (docs/operating.md has an example). `cache` is passed over while `[cache]` is off.

    Nobody goes on with another model's text: after its first text an error ends the attempt, and the next one begins
    with the next route.
    """

    errors: tuple[Text, ...] = Field(default=(), description="after a timeout, a provider's limit (429) or an error")
    context_too_long: tuple[Text, ...] = Field(default=(), description="when the prompt does not fit the model")
    refusals: tuple[Text, ...] = Field(default=(), description="when the model or its filter declines")
    limits: tuple[Text, ...] = Field(
        default=(),
        description="when the fleet's own `[limits]` leave no room within 30 s; empty: the row waits, without a try",
    )
    deadline_s: Positive | None = Field(
        default=None,
        description="for all of them together, the route itself included; then only `cache` is left. Left out: none",
    )

    @property
    def chains(self) -> Mapping[str, tuple[str, ...]]:
        return {name: getattr(self, name) for name in ("errors", "context_too_long", "refusals", "limits")}


class CascadeSection(Section):
    """The answer of the route of this name is held back until it is whole and checked; where a check fails, `to` is
    asked as well and answers in its place. For rows that leave the quality to you (`options.quality` auto).

    Clients see nothing before the first answer is whole. Both calls stand in the ledger and share the deadline of
    `[fallbacks]`. Where `to` fails, or the budget refuses it, the first answer is given with a warning.
    """

    to: Text = Field(description="a stronger route, a name of `[routes]`; its answer is streamed and not checked")
    checks: tuple[Check, ...] = Field(
        default=(),
        description="of the first answer; empty: off. ending: cut off, empty, in mid-sentence, an open code fence, "
        "broken JSON; citations: none, or of a passage that was not given; ignorance: it says that it does not know, "
        "which is right where the passages do not hold the answer, so leave it out unless retrieval is good; "
        "arithmetic: a calculation with a wrong result",
    )


class RuleSection(Section):
    """Which rows take a route. The rules are tried in the order of the file; all that one gives must hold."""

    route: Text = Field(description="a name of `[routes]`")
    kinds: tuple[Text, ...] = Field(default=(), description="of the row; empty: any")
    quality: tuple[Literal["auto", "fast", "best"], ...] = Field(
        default=(), description="what the asker wants (`options.quality`); empty: anything"
    )
    tags: tuple[Text, ...] = Field(
        default=(), description="one of them stands in `input.tags`; empty: whatever stands there"
    )
    min_tokens: Annotated[int, Field(ge=0)] = Field(
        default=0, description="of the question and its history, or the prompt"
    )
    max_tokens: Annotated[int, Field(ge=0)] | None = Field(default=None, description="the same; left out: any number")
    min_history_turns: Annotated[int, Field(ge=0)] = Field(default=0, description="turns before the question")
    max_budget_left_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="of the tenant's budget of today; left out: whatever is left"
    )


class ClassifierSection(Section):
    """Where no rule fits: picks by predicted quality less price. The shipped weights are trained on public questions
    to public models, a prior that says nothing of yours, and read vectors of all-MiniLM-L6-v2 alone; `rowcall
    calibrate` makes weights from your own answers and vectors. A question unlike all that they were trained on goes
    to the route that was best on average, whatever the price.
    Without routes it is off and `default` answers.
    """

    routes: tuple[Text, ...] = Field(
        default=(),
        description="names of `[routes]`: all that the weights are of; for the shipped ones two, a small model's and a "
        "large one's",
    )
    weights: str = Field(
        default="",
        description="the file of `rowcall calibrate --write`, as seen from rowcall.toml; empty: the shipped prior",
    )
    price_weight: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="quality (0 to 1) that the dearest route must add over the cheapest to be worth its price; left "
        "out: what the weights were calibrated to, the shipped ones 0.1",
    )


class BreakingSection(Section):
    """The circuit breaker of each provider, shared by the fleet: while it is open, other providers' routes go first."""

    failures: Annotated[int, Field(ge=1)] = Field(default=5, description="in a row, after which the circuit opens")
    within_s: Positive = Field(default=60.0, description="failures further apart do not add up")
    open_s: Positive = Field(default=10.0, description="how long until one call may try; doubles when that fails")
    max_open_s: Positive = Field(default=120.0, description="the longest of these pauses")
    probe_s: Positive = Field(default=30.0, description="how long such a try holds back others")


class PriceSection(Section):
    """US dollars per million tokens. A model that is missing here costs null, which no budget counts."""

    usd_per_mtok_in: Price = Field(description="tokens of the prompt")
    usd_per_mtok_cached: Price = Field(description="those of them that the provider had cached")
    usd_per_mtok_out: Price = Field(description="tokens of the answer, reasoning included")


class LimitSection(Section):
    """How fast the whole fleet calls a model: below what the provider allows, so that it need not refuse."""

    requests_per_min: Annotated[int, Field(ge=1)] | None = Field(default=None, description="left out: no limit")
    tokens_per_min: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="reserved before a call by tiktoken's count and the longest answer, settled with what was used; "
        "left out: no limit",
    )


class TableSection(Section):
    """A table of the project's own, one of whose columns is filled when its Database Webhook says that a row appeared
    or changed. The name is `<schema>.<table>`. A trigger of `rowcall.generate` does the same and cannot be lost.
    """

    column: Text = Field(description="the column that is filled")
    template: Text = Field(description="what is asked; `{{column}}` stands for the row's value")
    kind: Text = Field(default="complete", description="the job")
    owner: Text | None = Field(
        default=None,
        description="column with the owner's id. Let your policies tie it to `auth.uid()`: nothing else does",
    )
    lane: Literal["interactive", "bulk"] = Field(default="bulk", description="whether a person waits for it")
    quality: Literal["auto", "fast", "best"] = Field(default="auto", description="as in a row's options")
    key: tuple[Text, ...] = Field(
        default=("id",), description="columns of the primary key: whole numbers or UUIDs, since they go through Redis"
    )


class Configuration(Section):
    """rowcall.toml."""

    worker: WorkerSection = WorkerSection()
    lanes: LanesSection = LanesSection()
    sweeper: SweeperSection = SweeperSection()
    retries: RetriesSection = RetriesSection()
    intake: IntakeSection = IntakeSection()
    internal: InternalSection = InternalSection()
    broadcast: BroadcastSection = BroadcastSection()
    providers: Mapping[str, ProviderSection]
    embedding: EmbeddingSection
    retrieval: RetrievalSection = RetrievalSection()
    few_shot: FewShotSection = FewShotSection()
    reranker: RerankerSection = RerankerSection()
    routes: Mapping[str, RouteSection]
    fallbacks: Mapping[str, FallbackSection] = {}
    cascades: Mapping[str, CascadeSection] = {}
    rules: Mapping[str, RuleSection] = {}
    classifier: ClassifierSection = ClassifierSection()
    cache: CacheSection = CacheSection()
    breaking: BreakingSection = BreakingSection()
    prices: Mapping[str, PriceSection] = {}
    limits: Mapping[str, LimitSection] = {}
    tables: Mapping[Annotated[str, Field(pattern=r"^[^.]+\.[^.]+$")], TableSection] = {}

    @model_validator(mode="after")
    def _names_exist(self) -> "Configuration":
        if CACHE in self.routes:
            raise ValueError(f"routes: {CACHE!r} is what the cached answer is called in [fallbacks]")
        if "default" not in self.routes:
            raise ValueError("routes: there must be a route named 'default'")
        named = {"embedding": self.embedding.provider, **{f"routes.{n}": r.provider for n, r in self.routes.items()}}
        if (self.reranker.provider is None) != (self.reranker.model is None):
            raise ValueError("reranker: provider and model go together; one of them is missing")
        if self.reranker.provider is not None:
            named["reranker"] = self.reranker.provider
        for place, provider in named.items():
            if provider not in self.providers:
                known = ", ".join(sorted(self.providers))
                raise ValueError(f"{place}.provider must be a name of [providers]: {known} (it is {provider!r})")
        return self

    @model_validator(mode="after")
    def _cascades_lead_upwards(self) -> "Configuration":
        for name, section in self.cascades.items():
            if name not in self.routes:
                raise ValueError(f"cascades.{name} must be a name of [routes]: {', '.join(self.routes)}")
            others = [route for route in self.routes if route != name]
            if section.to not in others:
                raise ValueError(
                    f"cascades.{name}.to must be another name of [routes]: {', '.join(others)} (it is {section.to!r})"
                )
        for name, section in self.cascades.items():
            way = [name, section.to]
            while way[-1] in self.cascades and way[-1] not in way[:-1]:
                way.append(self.cascades[way[-1]].to)
            if way[-1] in way[:-1]:
                raise ValueError(f"cascades.{name}.to must not lead back (it does: {' → '.join(way)})")
        return self

    @model_validator(mode="after")
    def _rules_lead_somewhere(self) -> "Configuration":
        known = ", ".join(self.routes)
        for name, rule in self.rules.items():
            if rule.route not in self.routes:
                raise ValueError(f"rules.{name}.route must be a name of [routes]: {known} (it is {rule.route!r})")
        chosen, count = self.classifier.routes, "names" if self.classifier.weights else "two names"
        distinct, few = set(chosen), len(chosen) != 2 and not self.classifier.weights
        if chosen and (few or len(distinct) != len(chosen) or not distinct <= set(self.routes)):
            raise ValueError(f"classifier.routes must be {count} of [routes]: {known} (it is {list(chosen)})")
        return self

    @model_validator(mode="after")
    def _fallbacks_lead_elsewhere(self) -> "Configuration":
        for name, section in self.fallbacks.items():
            if name not in self.routes:
                raise ValueError(f"fallbacks.{name} must be a name of [routes]: {', '.join(self.routes)}")
            others = [*(route for route in self.routes if route != name), CACHE]
            for cause, chain in section.chains.items():
                for route in chain:
                    if route not in others:
                        raise ValueError(
                            f"fallbacks.{name}.{cause} must be other names of [routes], or 'cache': "
                            f"{', '.join(others)} (it is {route!r})"
                        )
        return self


class Environment(Section):
    """Addresses and secrets. A secret may also stand in a file that `NAME_FILE` names."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    SUPABASE_URL: Annotated[str, Field(pattern=r"^https?://")] = Field(description="the project's URL")
    SUPABASE_SECRET_KEY: Annotated[SecretStr, Field(min_length=1)] = Field(
        description="a secret key of the project (`sb_secret_…`)"
    )
    REDIS_URL: Annotated[str, Field(pattern=r"^rediss?://")] = Field(
        default="redis://127.0.0.1:6379/0", description="`redis://[:password@]host:port/number`, `rediss://` with TLS"
    )

    ROWCALL_WEBHOOK_SECRET: SecretStr = Field(
        SecretStr(""),
        description="what the vault signs webhooks with; two, separated by a comma, while they are rotated",
    )
    ROWCALL_LOG: Literal["json", "console", "auto"] = Field(
        default="auto", description="how logs look; auto: coloured in a terminal, else JSON"
    )
    ROWCALL_LOCAL_MODEL_URL: Annotated[str, Field(pattern=r"^http://")] | None = Field(
        default=None, description="development: a local model server, which embeds and answers instead of the providers"
    )
    ROWCALL_LIVE: bool = Field(
        default=False, description="development: beside the local model server, answer by the routes of rowcall.toml"
    )

    @field_validator("SUPABASE_SECRET_KEY")
    @classmethod
    def _is_a_key(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value().isascii():  # it goes into an HTTP header
            raise ValueError("SUPABASE_SECRET_KEY has characters that no key has: is it still a placeholder?")
        return key
