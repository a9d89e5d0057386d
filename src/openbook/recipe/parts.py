"""The parts of a recipe: what both halves may name, the index half, the query half.

A part is named by its ``kind``. A setting that comes later is told as ``younger``, so that no hash changes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from openbook.errors import RecipeError


class Part(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    younger: ClassVar[frozenset[str]] = frozenset()
    """Settings that came when there were recipes. They are not told where they are at their default, so that a recipe,
    and the index that was built by it, goes on being named by the hash that it had."""

    @model_serializer(mode="wrap")
    def _without_younger(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        same = {name for name in self.younger if getattr(self, name) == fields[name].default}
        return {key: value for key, value in told.items() if key not in same}

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, data: Any) -> Any:
        """A part whose ``kind`` is not said is of the default kind."""
        if not isinstance(data, dict):
            return data
        kinds = {name: getattr(field.default, "kind", None) for name, field in cls.model_fields.items()}
        return {
            name: {"kind": kinds[name], **value} if isinstance(value, dict) and kinds.get(name) else value
            for name, value in data.items()
        }

    @property
    def hash(self) -> str:
        """Twelve hex digits that name these settings: equal settings, equal hash."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


# --- what both halves may name ----------------------------------------------------------------------------------------


class Off(Part):
    """A stage that is left out."""

    kind: Literal["none"] = "none"


class Served(Part):
    """A model behind a server. ``local``: the server is one's own, and is sent the text of local-only documents, too.

    Where a server stands cannot be told by its address (a tunnel ends on this machine), so nothing but this says it.
    """

    younger = frozenset({"local"})
    local: StrictBool = False

    @property
    def is_local(self) -> bool:
        """Whether it may be sent the text of local-only documents."""
        return self.local


class FixedExamples(Part):
    """Questions and their answers that a language model is ``shown`` as examples; ``file`` holds more, a line of JSON
    each (``{"question": …, "answer": …}``), and is read when a knowledge base takes the recipe. As many as ``tokens``
    allow."""

    kind: Literal["fixed"] = "fixed"
    shown: tuple[tuple[str, str], ...] = ()
    file: str | None = None
    tokens: int = Field(default=600, ge=16)


class ApprovedExamples(Part):
    """As examples the ``count`` answers of this knowledge base whose questions are nearest, of those that people said
    were good, or better ones that they wrote; none that the caller may not see. As many as ``tokens`` allow."""

    kind: Literal["approved"] = "approved"
    count: int = Field(default=3, ge=1, le=50)
    tokens: int = Field(default=600, ge=16)


class LanguageModel(Served):
    """A language model that writes the answer from numbered passages and must cite them.

    ``kind`` is the protocol: ``openai`` (any compatible server by ``base_url``) or ``anthropic``. ``context_tokens``
    bounds the passages handed over, as the model's own ``tokenizer`` counts (a ``tokenizer.json``, or a folder that
    holds one); ``None``: as an estimate that errs high. The key comes from ``key_env``; by default from the provider's
    own variable. In the ``order`` of their ranks the best passage is the first; by ``"ends"`` the best stand first and
    last, and the weakest in the middle. ``examples`` show the form of an answer, and are no evidence.
    """

    younger = frozenset({"local", "tokenizer", "order", "examples"})

    kind: Literal["openai", "anthropic"]
    model: str
    base_url: str | None = None
    key_env: str | None = None
    context_tokens: int = Field(default=4000, ge=64)
    max_output_tokens: int = Field(default=600, ge=16)
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    instructions: str = ""
    tokenizer: str | None = None
    order: Literal["rank", "ends"] = "rank"
    examples: Annotated[Off | FixedExamples | ApprovedExamples, Field(discriminator="kind")] = Off()


AS_READ = 1_000_000
"""The ``target_tokens`` of recipes that are older than the setting: as many as are read at once."""


# --- the index half ---------------------------------------------------------------------------------------------------


class StructureChunker(Part):
    """Headings, paragraphs, lists, code blocks and tables kept whole where they fit.

    ``max_tokens`` counts the embedder's own tokens, heading path included; ``None``: as many as the embedder reads
    (512 for a remote one). A document that fits is one chunk; one that does not is cut into chunks of at most
    ``target_tokens`` of its own text. ``overlap`` (tokens) repeats the end of a block that had to be cut.
    """

    kind: Literal["structure"] = "structure"
    max_tokens: int | None = Field(default=None, ge=16)
    target_tokens: int = Field(default=112, ge=16)
    overlap: int = Field(default=0, ge=0)


class RecursiveChunker(Part):
    """Recursive character splitting: ``size`` and ``overlap`` in characters, as other tools have it."""

    kind: Literal["recursive"] = "recursive"
    size: int = Field(default=1000, ge=1)
    overlap: int = Field(default=200, ge=0)

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> RecursiveChunker:
        if self.overlap >= self.size:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than size ({self.size})")
        return self


class WindowChunker(Part):
    """Sentences are searched; shown is the one that was found with ``window`` sentences before and after it.

    Sentences of one section that have fewer than ``least_tokens`` go together.
    """

    kind: Literal["window"] = "window"
    window: int = Field(default=2, ge=0, le=50)
    least_tokens: int = Field(default=16, ge=1)


class ParentChunker(Part):
    """Pieces of ``target_tokens`` are searched, cut as ``structure`` cuts; shown is the parent of the one found: its
    section, or of a longer one a part of at most ``parent_tokens``."""

    kind: Literal["parent"] = "parent"
    target_tokens: int = Field(default=48, ge=16)
    parent_tokens: int = Field(default=240, ge=16)

    @model_validator(mode="after")
    def _parent_is_larger(self) -> ParentChunker:
        if self.parent_tokens < self.target_tokens:
            raise ValueError(f"parent_tokens ({self.parent_tokens}) must not be below target_tokens")
        return self


class SemanticChunker(Part):
    """Sections cut where the vectors of consecutive sentences part.

    At every gap the ``smooth`` sentences before it are compared with as many after it; it is cut at the gaps of the
    document that are below its ``percentile``, and a piece of more than ``target_tokens`` at its lowest gap. No piece
    has fewer than ``least_tokens``, unless its section has. ``choose``: a language model says, in place of the
    percentile, where something new begins; what it does not answer is cut by the rule.
    """

    kind: Literal["semantic"] = "semantic"
    smooth: int = Field(default=3, ge=1, le=20)
    percentile: float = Field(default=20.0, ge=0.0, le=100.0)
    choose: Annotated[Off | LanguageModel, Field(discriminator="kind")] = Off()
    least_tokens: int = Field(default=32, ge=1)
    target_tokens: int = Field(default=112, ge=16)

    @model_validator(mode="after")
    def _target_is_larger(self) -> SemanticChunker:
        if self.target_tokens < self.least_tokens:
            raise ValueError(f"target_tokens ({self.target_tokens}) must not be below least_tokens")
        return self


class Context(Part):
    """What is read of a chunk besides its title, headings and text.

    ``tables``: of rows of a table, their header. ``situate``: a sentence that says where in the document the chunk
    stands, written by a language model.
    """

    tables: StrictBool = False
    situate: Annotated[Off | LanguageModel, Field(discriminator="kind")] = Off()


ChunkerPart = StructureChunker | RecursiveChunker | WindowChunker | ParentChunker | SemanticChunker


class LocalEmbedder(Part):
    """A sentence-transformers folder or hub id, run in OpenVINO; ``"default"`` is the packaged all-MiniLM-L6-v2."""

    kind: Literal["local"] = "local"
    model: str = "default"
    query_prefix: str = ""
    document_prefix: str = ""
    max_tokens: int | None = Field(default=None, ge=16)

    @property
    def is_local(self) -> bool:
        """It runs in this process."""
        return True


class OpenAIEmbedder(Served):
    """Any OpenAI-compatible ``/embeddings`` endpoint; the key comes from the environment variable ``key_env``."""

    kind: Literal["openai"] = "openai"
    model: str
    base_url: str | None = None
    dimensions: int | None = Field(default=None, ge=1)
    key_env: str = "OPENAI_API_KEY"
    query_prefix: str = ""
    document_prefix: str = ""
    max_tokens: int = Field(default=512, ge=16)


# fmt: off
Language = Literal[
    "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian", "norwegian",
    "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish", "none",
]
# fmt: on


class Keyword(Part):
    """The keyword analyser: lower case, accents folded, words stemmed in ``language`` (``"none"``: not stemmed)."""

    language: Language = "english"


class IndexHalf(Part):
    """``neighbours``: how much of the vectors before and after it in its section a chunk's own takes in."""

    chunk: Annotated[ChunkerPart, Field(discriminator="kind")] = StructureChunker()
    context: Context = Context()
    embed: Annotated[LocalEmbedder | OpenAIEmbedder, Field(discriminator="kind")] = LocalEmbedder()
    keyword: Keyword = Keyword()
    neighbours: float = Field(default=0.5, ge=0.0, le=1.0)
    younger = frozenset({"context"})


# --- the query half ---------------------------------------------------------------------------------------------------


class EvidenceFusion(Part):
    """``cosine`` · familiarity · cosine + ``chunk`` · BM25 of the chunk + ``document`` · BM25 of its document.

    What each side says in one unit, log-odds, so that neither is stretched to a fixed share of every question.
    ``neighbours`` of what the chunks before and after in its section have is added, for the order within a document.

    ``familiarity`` is how far the model's tokenizer knows the question's words (1: always taken for known). See
    docs/concepts/retrieval.md.
    """

    kind: Literal["evidence"] = "evidence"
    cosine: float = Field(default=20.0, ge=0.0)
    chunk: float = Field(default=0.2, ge=0.0)
    document: float = Field(default=0.4, ge=0.0)
    neighbours: float = Field(default=0.1, ge=0.0, le=1.0)
    familiarity: StrictBool = True


class WeightedFusion(Part):
    """``dense`` · cosine + (1 - ``dense``) · BM25 / the best BM25: what the two stages say, not only in which order."""

    kind: Literal["weighted"] = "weighted"
    dense: float = Field(default=0.7, ge=0.0, le=1.0)


class ReciprocalRankFusion(Part):
    """Sum of 1 / (``k`` + rank) over the stages (Cormack, Clarke and Büttcher, SIGIR 2009)."""

    kind: Literal["rrf"] = "rrf"
    k: int = Field(default=60, ge=1)


class NearDuplicates(Part):
    """Hits that say nearly what a better one says are told with it. ``similarity``: the share of three-word runs that
    the two have in common, of all that either has, from which they count as the same."""

    kind: Literal["collapse"] = "collapse"
    similarity: float = Field(default=0.8, gt=0.0, le=1.0)


class LateInteraction(Part):
    """Each token of the question finds its nearest in a chunk; ``weight`` · the mean of these cosines is added to the
    chunk's fused score (Khattab and Zaharia, ColBERT, SIGIR 2020).

    By the token vectors of the embedding model itself, which must be a local one: no further model is needed.
    ``candidates`` of the best chunks are looked at, or as many as ``budget_ms`` milliseconds allow.
    """

    kind: Literal["late"] = "late"
    weight: float = Field(default=20.0, ge=0.0)
    candidates: int = Field(default=20, ge=2, le=1_000)  # more were measured to change nothing
    budget_ms: int | None = Field(default=None, ge=1)

    @property
    def is_local(self) -> bool:
        """It runs in this process."""
        return True


class CrossEncoder(Part):
    """A model that reads question and chunk as one: a sentence-transformers CrossEncoder, by folder or hub id.

    Its scores lie in [0, 1]; what it scores below ``threshold`` is left out, and so is what it was not shown. With a
    ``weight`` that much of their log-odds is added to the fused score, else they stand in its place. ``max_tokens`` of
    question and chunk together are read. ``content``: of one that was trained on documents, as an adapter has it.
    """

    kind: Literal["cross-encoder"] = "cross-encoder"
    model: str
    content: str | None = None
    weight: float | None = Field(default=None, gt=0.0)
    max_tokens: int | None = Field(default=None, ge=16)
    candidates: int = Field(default=50, ge=2, le=1_000)
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    budget_ms: int | None = Field(default=None, ge=1)

    @property
    def is_local(self) -> bool:
        """It runs in this process."""
        return True

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes that say neither keep the hash that they had before there was one.
        told: dict[str, Any] = handler(self)
        return {key: value for key, value in told.items() if key not in ("weight", "content") or value is not None}


class RerankAPI(Served):
    """A server with a ``/rerank`` endpoint as Cohere, Jina and vLLM have it; the key comes from ``key_env``.

    Where it does not answer, or not within ``budget_ms``, the stage is left out and the trace says so. ``threshold``
    is of the server's own scores.
    """

    kind: Literal["api"] = "api"
    model: str
    base_url: str
    key_env: str = "RERANK_API_KEY"
    candidates: int = Field(default=50, ge=2, le=1_000)
    threshold: float | None = None
    budget_ms: int | None = Field(default=None, ge=1)


class Recency(Part):
    """Of what a chunk is ahead of the lowest candidate by, ``weight`` · (1 - freshness) is taken away.

    Freshness halves every ``half_life_days`` that its document is older than the newest candidate's, by the date in the
    metadata ``field``. A document without a date counts as the median of those that have one.
    """

    kind: Literal["half-life"] = "half-life"
    field: str = "modified"
    half_life_days: float = Field(default=365.0, gt=0.0)
    weight: float = Field(default=0.5, ge=0.0, le=1.0)
    candidates: int = Field(default=50, ge=2, le=1_000)


class Diversity(Part):
    """Maximal marginal relevance: ``relevance`` · score - (1 - ``relevance``) · the cosine to the nearest hit above.

    Carbonell and Goldstein, The use of MMR, SIGIR 1998; scores are brought to [0, 1] over the ``candidates``.
    """

    kind: Literal["mmr"] = "mmr"
    relevance: float = Field(default=0.7, ge=0.0, le=1.0)
    candidates: int = Field(default=50, ge=2, le=1_000)


class Assembly(Part):
    """Which passages the generator is handed, out of the first ``pool`` hits.

    Chunks of one document with at most ``stitch`` characters between them (blanks at the ends do not count) become one
    passage, these characters included: 0 takes those that touch or overlap, ``None`` none. Of one document at most
    ``per_document`` passages are taken (``None``: any number); others move up.
    """

    pool: int = Field(default=30, ge=1, le=1_000)
    stitch: int | None = Field(default=None, ge=0, le=100_000)
    per_document: int | None = Field(default=None, ge=1)

    @property
    def is_on(self) -> bool:
        """Whether it does anything."""
        return self.stitch is not None or self.per_document is not None


class Disagreements(Part):
    """Told with the answer: what was found of another date or version that says otherwise than what is cited.

    Of the metadata fields ``dates`` the first that two documents both have tells which is the older one; where a
    document's ``status`` is superseded, it is. A language model is shown them, and asked to say where passages differ.
    """

    kind: Literal["rules"] = "rules"
    dates: tuple[str, ...] = (
        "effective",
        "effective_date",
        "valid_from",
        "version",
        "date",
        "published",
        "updated",
        "modified",
    )


class Extractive(Part):
    """Quote the best one to ``sentences`` sentences; abstain where the confidence is below ``threshold``."""

    kind: Literal["extractive"] = "extractive"
    sentences: int = Field(default=2, ge=1, le=3)
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)  # None: the calibrated one


class RuleFilters(Part):
    """Filters from the question ("in the 3.5 docs", "since 2021", "for Germany"), by rules over the metadata here.

    ``read`` is what narrows: a field is of one of these sorts, by its values.
    """

    younger = frozenset({"read"})

    kind: Literal["rules"] = "rules"
    read: tuple[Literal["versions", "dates", "values", "numbers"], ...] = ("versions", "dates", "values", "numbers")


class ModelFilters(Part):
    """Filters from the question, proposed by a language model and held against the metadata here.

    One that has not answered within ``seconds`` is not waited for: the question is then asked without.
    """

    kind: Literal["model"] = "model"
    model: LanguageModel
    seconds: float = Field(default=10.0, gt=0.0, le=60.0)


class ModelTransform(Part):
    """What a language model makes of a question before it is looked for; each is searched beside the question.

    ``multi_query``: so many other ways to ask it. ``hyde``: a passage that might answer it, for the dense side alone
    (Gao et al., arXiv:2212.10496). ``decompose``: the questions that it is made of. The model also makes a follow-up
    question standalone, and says whether to ask back. A call that has not answered within ``seconds`` is not waited
    for.
    """

    kind: Literal["model"] = "model"
    model: LanguageModel
    multi_query: int = Field(default=3, ge=0, le=5)
    hyde: StrictBool = False
    decompose: StrictBool = False
    seconds: float = Field(default=10.0, gt=0.0, le=60.0)


class Budget(Part):
    """What the language models may take for one question; ``None``: as much as each call may by itself.

    ``tokens`` (read and written) and ``dollars`` bound all calls together. The answer's call comes first: those before
    it get what it does not need, and it gets what they leave. ``seconds`` from the question bound the calls before the
    answer. A call that might exceed the budget is not made.
    """

    tokens: int | None = Field(default=None, ge=1)
    dollars: float | None = Field(default=None, ge=0.0)
    seconds: float | None = Field(default=None, gt=0.0, le=600.0)


class CorpusSpelling(Part):
    """``words`` of the question that neither a document nor the model knows are read as the nearest that a document
    has; ``identifiers`` (flags, versions, codes) in the form in which they stand there."""

    kind: Literal["corpus"] = "corpus"
    words: StrictBool = True
    identifiers: StrictBool = True


class Glossary(Part):
    """Synonyms of one's own: what a word or phrase of the question also means is looked for by its words as well.

    ``rules`` are lines as Solr and Elasticsearch have them: ``pto, paid time off`` (each means the others) and
    ``pto => paid time off`` (one way), or the same with tabs; ``path`` names a file of them. A synonym counts
    ``weight`` of the word that it stands for. ``dense``: it is embedded with the question, too.

    What a part holds is the rules; a path is a way to write them. So a glossary travels with its recipe: a release goes
    on being read by the words that it was measured with, on a machine that has no such file as well, a rollback brings
    the former ones back, and another glossary is another recipe, by its hash. A path that is kept would break that
    whenever somebody saves the file.

    Raises:
        RecipeError: the file cannot be read, a line says nothing that could be meant, or no line says
            anything.
    """

    kind: Literal["synonyms"] = "synonyms"
    rules: tuple[str, ...] = ()
    weight: float = Field(default=0.5, ge=0.0, le=1.0)
    dense: StrictBool = True

    @model_validator(mode="before")
    @classmethod
    def _rules_of_file(cls, data: Any, info: ValidationInfo) -> Any:
        from openbook.synonyms import read_file, rules

        if not isinstance(data, dict) or (info.context or {}).get("stored"):
            return data  # what was read once is not held against what would be asked of it today
        told = {name: value for name, value in data.items() if name != "path"}
        lines: list[str] = []
        if "path" in data:
            if not isinstance(path := data["path"], str | Path):
                raise RecipeError("query.glossary.path is no text", where="recipe", do="name a file, in quotes")
            lines += read_file(Path(path))
        if isinstance(own := told.get("rules"), list | tuple) and all(isinstance(line, str) for line in own):
            lines += rules(own, where="query.glossary.rules") if own else []
        elif "rules" in told:
            return told
        return {**told, "rules": tuple(dict.fromkeys(lines))}


class RelevanceFeedback(Part):
    """A second search with what the first ``chunks`` of the first have in common: their ``terms`` most telling words
    have ``weight`` of all that words count, and the mean of their vectors ``dense`` of the question's vector.

    RM3 (Lavrenko and Croft, Relevance-based language models, SIGIR 2001; Abdul-Jaleel et al., TREC 2004) and Rocchio.
    """

    kind: Literal["relevance"] = "relevance"
    chunks: int = Field(default=5, ge=1, le=100)
    terms: int = Field(default=10, ge=0, le=200)
    weight: float = Field(default=0.3, ge=0.0, le=1.0)
    dense: float = Field(default=0.2, ge=0.0, le=1.0)


class LinearAdapter(Part):
    """Query vectors go through a linear map that was trained to bring them to the documents that answer them.

    ``path``: its folder. ``content`` is the hash of what is in it, filled in when a knowledge base takes the recipe:
    what is changed later is refused. The map fits one embedder, and answers only callers who may read all that it was
    trained on; others' questions go without it.
    """

    kind: Literal["linear"] = "linear"
    path: str
    content: str | None = None


class ThemeTree(Part):
    """Questions that ask what all the documents are about ("What are the main themes?") are answered from a tree of
    themes; ``number``: so many, ``None``: as many as the documents suggest."""

    kind: Literal["tree"] = "tree"
    number: int | None = Field(default=None, ge=1, le=200)


class BridgeHops(Part):
    """Read, and search again: the question is looked for part by part, and what the first hits name beside it.

    ``read`` of the best documents are read in each of at most ``most`` hops; fewer where nothing new leads on. The
    first ``keep`` hits stay where the single search has them.
    """

    kind: Literal["bridge"] = "bridge"
    most: int = Field(default=2, ge=1, le=5)
    read: int = Field(default=5, ge=1, le=20)
    keep: int = Field(default=0, ge=0, le=100)


class ModelHops(Part):
    """A language model reads the ``read`` first hits, and says by which queries to look for what they lack.

    One that has not answered within ``seconds`` is not waited for: the first hits are then all.
    """

    kind: Literal["model"] = "model"
    model: LanguageModel
    read: int = Field(default=5, ge=1, le=20)
    seconds: float = Field(default=10.0, gt=0.0, le=60.0)


class QueryHalf(Part):
    """From the question to the answer.

    Its ``spelling`` is mended, a ``glossary`` adds synonyms, an ``adapter`` turns its vector to the documents', and
    ``expansion`` searches again with what was found.
    ``transform`` is what a language model makes of it, and ``budget`` bounds what such models take for all of it.
    ``filters`` are proposed from the question. ``candidates`` of each stage are fused; ``hops`` read what was found and
    search again; the best are put in another order by ``rerank``, ``recency`` and ``diversity``, one after another. Two
    neighbours among the ``merge`` best chunks become one hit. Of ``duplicates`` one is a hit, and tells the others. A
    hit that scores less than the best by more than ``within`` (in the unit of the scores; ``None``: any) is left out.
    ``context`` hits are handed to the generator, or as many passages as ``assemble`` makes of more. ``disagreements``
    among what was found are told. Questions that ask for the whole may be answered from ``themes``.
    """

    younger = frozenset(
        {"spelling", "glossary", "expansion", "transform", "budget", "hops", "assemble", "disagreements", "themes"}
        | {"adapter"}
    )

    spelling: Annotated[Off | CorpusSpelling, Field(discriminator="kind")] = Off()
    glossary: Annotated[Off | Glossary, Field(discriminator="kind")] = Off()
    adapter: Annotated[Off | LinearAdapter, Field(discriminator="kind")] = Off()
    expansion: Annotated[Off | RelevanceFeedback, Field(discriminator="kind")] = Off()
    filters: Annotated[Off | RuleFilters | ModelFilters, Field(discriminator="kind")] = RuleFilters(read=("versions",))
    transform: Annotated[Off | ModelTransform, Field(discriminator="kind")] = Off()
    budget: Budget = Budget()
    candidates: int = Field(default=100, ge=1, le=10_000)
    fusion: Annotated[EvidenceFusion | WeightedFusion | ReciprocalRankFusion, Field(discriminator="kind")] = (
        EvidenceFusion()
    )
    hops: Annotated[Off | BridgeHops | ModelHops, Field(discriminator="kind")] = Off()
    rerank: Annotated[Off | LateInteraction | CrossEncoder | RerankAPI, Field(discriminator="kind")] = Off()
    recency: Annotated[Off | Recency, Field(discriminator="kind")] = Off()
    diversity: Annotated[Off | Diversity, Field(discriminator="kind")] = Off()
    merge: int = Field(default=10, ge=0, le=1_000)
    duplicates: Annotated[Off | NearDuplicates, Field(discriminator="kind")] = Off()
    within: float | None = Field(default=None, ge=0.0)
    context: int = Field(default=10, ge=1)
    assemble: Assembly = Assembly()
    disagreements: Annotated[Off | Disagreements, Field(discriminator="kind")] = Off()
    themes: Annotated[Off | ThemeTree, Field(discriminator="kind")] = Off()
    generate: Annotated[Extractive | LanguageModel, Field(discriminator="kind")] = Extractive()
