"""What transforming a question gains without a language model: nDCG@10 on dev halves, paired with the default.

    python benchmarks/transform.py clean [--data ../shared/data] [--limit 100] [SET ...]
        the questions as they are, mended
    python benchmarks/transform.py relevance [SET ...]
        the questions as they are, by relevance feedback: by words, by vectors, by both
    python benchmarks/transform.py typos [SET ...]
        one letter left out, put in, replaced or exchanged in one content word of each question (seeded): how much of
        what that costs spelling gets back
    python benchmarks/transform.py forms [SET ...]
        flags and names of variables written otherwise: snapshot_count, snapshotCount, SNAPSHOT_COUNT, snapshot count
    python benchmarks/transform.py jargon [SET ...]
        one content word of each question replaced by an invented one that a glossary explains, at several weights
    python benchmarks/transform.py time [--chunks 100000] [SET ...]
        processor milliseconds of mending a question, warm, over keyword views of so many chunks

A corpus is indexed where it is not yet. A figure is the mean; in brackets the 95 % interval of the difference.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from openbook.evaluate import Dataset, open_corpus, read
from openbook.evaluate.measures.ranking import measured
from openbook.evaluate.significance import paired
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import CorpusSpelling, Glossary, QueryHalf, Recipe, RelevanceFeedback
from openbook.retrieve import Retriever
from openbook.retrieve.transform.edits import ALPHABETS
from openbook.store.keyword.words import STOPWORDS

ALL = (
    *("arcd-arabic", "covid-faq", "cranfield", "dbpedia-entity-mini", "docs-etcd", "handbook-sourcegraph"),
    *("hotpotqa-300", "multihoprag-evidence", "scifact", "squad2-a"),
)
SETS = {
    "clean": ALL,
    "relevance": ALL,
    "typos": ("scifact", "squad2-a", "covid-faq", "handbook-sourcegraph"),
    "forms": ("docs-etcd",),
    "jargon": ("scifact", "squad2-a", "covid-faq", "handbook-sourcegraph"),
    "time": ("scifact", "squad2-a"),
}
MEASURE = "ndcg@10"
DEPTH = 50
WORDS = CorpusSpelling(identifiers=False)
NAMES = CorpusSpelling(words=False)

Values = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SETS)
    parser.add_argument("sets", nargs="*", metavar="SET")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=int, default=100, help="questions of each set")
    parser.add_argument("--chunks", type=int, default=100_000, help="of the keyword view whose time is taken")
    options = parser.parse_args()
    measures = {"clean": clean, "relevance": relevance, "typos": typos, "forms": forms, "jargon": jargon}
    if options.what == "time":
        times(options.data, options.sets or SETS["time"], options.chunks)
        return
    for name in options.sets or SETS[options.what]:
        whole = read(options.data / name)
        dev = whole.select("dev").questions.items()
        judged = dict([(id, question) for id, question in dev if question.judgements][: options.limit])
        assert whole.corpus is not None
        with open_corpus(Dataset(name, judged, whole.corpus), Recipe()) as kb:
            kb.add(whole.corpus)
            measures[options.what](Asker(name, kb, judged))


class Asker:
    """A set's questions, asked as they are or otherwise; what was embedded once is not embedded again."""

    def __init__(self, name: str, kb: KnowledgeBase, judged: Mapping[str, Any]) -> None:
        self.name, self.kb = name, kb
        self.questions = {id: question.text for id, question in judged.items()}
        self.judgements = {id: question.judgements for id, question in judged.items()}
        self.embedder = Remembering(kb.embedder)
        print(f"{name} ({len(judged)} questions)", flush=True)

    def ask(self, part: QueryHalf, questions: Mapping[str, str] | None = None) -> tuple[Values, dict[str, Any]]:
        """nDCG@10 and the trace's details of each question."""
        retriever = Retriever(self.kb.index, self.embedder, part)  # type: ignore[arg-type]
        rankings, details = {}, {}
        for id, text in (questions or self.questions).items():
            found = retriever.retrieve(text, DEPTH)
            rankings[id] = list(dict.fromkeys(hit.source for hit in found.hits))
            details[id] = found.details
        judgements = {id: self.judgements[id] for id in rankings}
        return measured([MEASURE], judgements, rankings)[MEASURE], details

    def against(self, what: str, before: Values, after: Values, more: str = "") -> None:
        found = paired(before, after, name=self.name)
        told = f"{found.b:.3f}  {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        print(f"  {what:34s} {told}  {more}".rstrip(), flush=True)


class Remembering:
    def __init__(self, embedder: Any) -> None:
        self.embedder, self.known = embedder, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.embedder, name)

    def encode(self, texts: Sequence[str], kind: str = "document") -> Any:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known.update(zip(new, self.embedder.encode(new, kind) if new else (), strict=True))
        return np.array([self.known[text] for text in texts])


def clean(asker: Asker) -> None:
    default, _ = asker.ask(QueryHalf())
    print(f"  {'default':34s} {mean(default):.3f}")
    for what, part in {"words": WORDS, "identifiers": NAMES, "both": CorpusSpelling()}.items():
        values, details = asker.ask(QueryHalf(spelling=part))
        changed = [told["spelling"] for told in details.values() if touched(told["spelling"])]
        asker.against(f"spelling, {what}", default, values, f"{len(changed)} questions read otherwise")
        for told in changed if what == "both" else ():
            print(f"      {[(one['from'], one['to']) for one in told['changed']]} {told.get('also', '')}")


def relevance(asker: Asker) -> None:
    default, _ = asker.ask(QueryHalf())
    print(f"  {'default':34s} {mean(default):.3f}")
    for what, part in {
        "words 0.3": RelevanceFeedback(dense=0.0),
        "vectors 0.2": RelevanceFeedback(weight=0.0),
        "both": RelevanceFeedback(),
    }.items():
        asker.against(what, default, asker.ask(QueryHalf(expansion=part))[0])


def touched(told: Mapping[str, Any]) -> bool:
    return bool(told.get("changed") or told.get("also"))


def typos(asker: Asker) -> None:
    draw = random.Random(0)
    slips = {id: slip for id, text in asker.questions.items() if (slip := slipped(text, draw))}
    right, _ = asker.ask(QueryHalf(), {id: asker.questions[id] for id in slips})
    mistyped = {id: text for id, (text, _, _) in slips.items()}
    wrong, _ = asker.ask(QueryHalf(), mistyped)
    mended, details = asker.ask(QueryHalf(spelling=CorpusSpelling()), mistyped)
    print(f"  {'as they should be':34s} {mean(right):.3f}")
    asker.against("mistyped", right, wrong)
    back = (mean(mended) - mean(wrong)) / (mean(right) - mean(wrong)) if mean(right) != mean(wrong) else float("nan")
    asker.against("mistyped, mended", wrong, mended, f"{back:.0%} of the loss is back")
    became: Counter[str] = Counter()
    for id, (_, was, typed) in slips.items():
        to = {one["from"]: one["to"] for one in details[id]["spelling"]["changed"]}.get(typed)
        stems = asker.kb.index.words.of
        became["left" if to is None else "right" if stems(to) == stems(was) else f"wrong ({was}, {typed}: {to})"] += 1
    print("  mistyped words became: " + ", ".join(f"{what} {n}" for what, n in became.most_common()), flush=True)


def slipped(question: str, draw: random.Random) -> tuple[str, str, str] | None:
    """The question with one edit in one content word; the word as it was and as it is."""
    words = [
        match
        for match in re.finditer(r"(?<![\w.:/@-])[A-Za-z]{4,}(?![\w.:/@-])", question)
        if match[0].lower() not in STOPWORDS["english"]
    ]
    if not words:
        return None
    match = draw.choice(words)
    word, letters = match[0], ALPHABETS[0]
    while True:
        at, kind = draw.randrange(len(word)), draw.randrange(4)
        head, tail = word[:at], word[at:]
        typed = (
            head + tail[1:],
            head + draw.choice(letters) + tail,
            head + draw.choice(letters) + tail[1:],
            head + tail[1:2] + tail[:1] + tail[2:],
        )[kind]
        if typed.lower() != word.lower():
            return question[: match.start()] + typed + question[match.end() :], word, typed


def forms(asker: Asker) -> None:
    named = {
        id: found for id, text in asker.questions.items() if (found := re.search(r"-{0,2}[a-z]+(?:-[a-z]+)+", text))
    }
    writes: dict[str, Callable[[list[str]], str]] = {
        "snapshot_count": "_".join,
        "snapshotCount": lambda parts: parts[0] + "".join(map(str.capitalize, parts[1:])),
        "ETCD_SNAPSHOT_COUNT": lambda parts: "_".join(["etcd", *parts]).upper(),
        "snapshotcount": "".join,
        "snapshot count": " ".join,
    }
    asked = {id: asker.questions[id] for id in named}
    if not asked:
        print("  no question names a flag")
        return
    right, _ = asker.ask(QueryHalf(), asked)
    print(f"  {'as they are':34s} {mean(right):.3f}  {len(asked)} questions that name a flag")
    for form, write in writes.items():
        written = {}
        for id, found in named.items():
            text = asker.questions[id]
            parts = found[0].strip("-").split("-")
            written[id] = text[: found.start()] + write(parts) + text[found.end() :]
        wrong, _ = asker.ask(QueryHalf(), written)
        mended, details = asker.ask(QueryHalf(spelling=NAMES), written)
        n = sum(touched(told["spelling"]) for told in details.values())
        asker.against(form, right, wrong)
        asker.against("  with identifiers", wrong, mended, f"{n} read otherwise")


def jargon(asker: Asker) -> None:
    draw = random.Random(0)
    asked, rules = {}, []
    for n, (id, text) in enumerate(asker.questions.items()):
        slip = slipped(text, draw)
        if slip is not None:
            invented = "".join(draw.choice("bcdfgklmnprstvz") + draw.choice("aeiou") for _ in range(3)) + str(n)
            asked[id] = re.sub(rf"\b{re.escape(slip[1])}\b", invented, text)
            rules.append(f"{invented} => {slip[1]}")
    right, _ = asker.ask(QueryHalf(), {id: asker.questions[id] for id in asked})
    wrong, _ = asker.ask(QueryHalf(), asked)
    print(f"  {'as they are':34s} {mean(right):.3f}")
    asker.against("with an unknown word", right, wrong)
    for dense in (False, True):
        for weight in (0.25, 0.5, 1.0):
            part = Glossary(rules=tuple(rules), weight=weight, dense=dense)
            explained, _ = asker.ask(QueryHalf(glossary=part), asked)
            asker.against(f"glossary, weight {weight}" + (", embedded" if dense else ""), wrong, explained)


def times(data: Path, sets: Sequence[str], chunks: int) -> None:
    """Over tantivy alone, as the stage asks it: 100,000 chunks in PostgreSQL would take an hour to embed."""
    from openbook.embed import open_embedder
    from openbook.recipe import LocalEmbedder
    from openbook.retrieve.transform.spelling import Spelling
    from openbook.store.index import View
    from openbook.store.keyword import Change, Changes, KeywordChunk, KeywordView, Position

    texts: list[str] = []
    for folder in sorted(data.iterdir()):
        if (folder / "corpus.jsonl").exists():
            with (folder / "corpus.jsonl").open(encoding="utf-8") as rows:
                for row in map(json.loads, rows):
                    texts += [row["text"][at : at + 250] for at in range(0, len(row["text"]), 250)]
    random.Random(0).shuffle(texts)

    def feed(_: Position) -> Changes:
        one = (Change(str(n), [KeywordChunk(n, text, "", "", n % 4 + 1, {})]) for n, text in enumerate(texts[:chunks]))
        return Changes(Position("e", 1), one)

    class Words:
        """The keyword side of an index, without the database."""

        def __init__(self, view: KeywordView) -> None:
            self.view, self.words = view, view.words

        def __getattr__(self, name: str) -> Any:
            ask = getattr(self.view, name)
            return lambda view, *given: ask(*given, access=view.access)

        def fetch(self, view: View, found: Sequence[int]) -> Mapping[int, Any]:
            return {}

    embedder = open_embedder(LocalEmbedder())
    with tempfile.TemporaryDirectory() as folder:
        view = KeywordView(Path(folder), "english")
        view.catch_up(feed)
        print(f"{view.size():,} chunks")
        spelling = Spelling(CorpusSpelling(), Words(view), embedder, private=False)  # type: ignore[arg-type]
        for name in sets:
            draw = random.Random(0)
            asked = [question.text for question in read(data / name).select("dev").questions.values()][:100]
            mistyped = [slip[0] for text in asked if (slip := slipped(text, draw))]
            for access in (None, (1, 2, 3)):
                seen = View(None, Position("e", 1), 1, access)  # type: ignore[arg-type]
                for what, questions in (("as they are", asked), ("mistyped", mistyped)):
                    taken = [spent(partial(spelling.mend, seen, text)) for text in [*questions[:5], *questions]][5:]
                    p50, p95 = np.percentile(taken, [50, 95])
                    who = "the owner" if access is None else "who sees 3 of 4"
                    print(f"  {name}, {what}, {who}: {p50:.1f} ms in the median, {p95:.1f} at the 95th percentile")


def spent(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return 1000 * (time.thread_time() - begun)


def mean(values: Values) -> float:
    return float(np.mean([*values.values()]))


if __name__ == "__main__":
    main()
