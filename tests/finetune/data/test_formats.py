"""Training data is read as it was meant and written so that reading gives the same; what is wrong is told in a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from openbook.errors import DatasetError, QueryError
from openbook.evaluate.datasets.leakage import normalised
from openbook.finetune.data.formats import Format, is_training_data, joined, read, write
from openbook.finetune.data.rows import Dropped, Example, Passage, Rows, Scored, merged, same_text
from openbook.types import storable

settings = hypothesis_settings(deadline=None, max_examples=60)


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# --- what is written is read ------------------------------------------------------------------------------------------

texts = st.text(min_size=1, max_size=40).map(storable).filter(str.strip)
names = st.text(min_size=1, max_size=8).map(storable).filter(str.strip)


@st.composite
def passages(draw: st.DrawFn, text: str) -> Passage:
    return Passage(
        text,
        draw(st.sampled_from(["", "a.md", "b/c d.md"])),
        tuple(draw(st.lists(names, max_size=2))),
        draw(st.booleans()),
        draw(st.none() | st.floats(-1, 1)),
        draw(st.sampled_from(["", "dense", "keyword"])),
    )


@st.composite
def examples(draw: st.DrawFn, *, least: int = 0, most: int = 3, same: bool = False) -> tuple[Example, ...]:
    """Queries that differ, each with texts that differ; with ``same``, as many negatives of each."""
    queries = draw(st.lists(texts, min_size=1, max_size=4, unique_by=normalised))
    number = draw(st.integers(least, most))
    found = []
    for query in queries:
        wrong = number if same else draw(st.integers(least, most))
        right = draw(st.integers(1, 3))
        said = draw(st.lists(texts, min_size=right + wrong, max_size=right + wrong, unique_by=same_text))
        of = [draw(passages(text)) for text in said]
        kind, group = draw(st.sampled_from(["", "faq"])), draw(st.sampled_from(["", "g-1"]))
        asked_by = tuple(sorted(set(draw(st.lists(names, max_size=2)))))
        found.append(Example(query, tuple(of[:right]), tuple(of[right:]), kind, group, asked_by))
    return tuple(found)


class TestWrittenAndRead:
    @settings
    @given(examples(most=0), st.sampled_from([".jsonl", ".csv", ".tsv"]))
    def test_pairs(self, tmp_path_factory: pytest.TempPathFactory, of: tuple[Example, ...], ending: str) -> None:
        self.same(tmp_path_factory.mktemp("pairs") / f"rows{ending}", of, "pairs")

    @settings
    @given(examples(least=1), st.sampled_from([".jsonl", ".csv", ".tsv"]))
    def test_triplets(self, tmp_path_factory: pytest.TempPathFactory, of: tuple[Example, ...], ending: str) -> None:
        self.same(tmp_path_factory.mktemp("triplets") / f"rows{ending}", of, "triplets")

    @settings
    @given(examples(least=1, same=True), st.sampled_from([".jsonl", ".csv", ".tsv"]))
    def test_tuples(self, tmp_path_factory: pytest.TempPathFactory, of: tuple[Example, ...], ending: str) -> None:
        self.same(tmp_path_factory.mktemp("tuples") / f"rows{ending}", of, "tuples")

    @settings
    @given(examples())
    def test_tevatron(self, tmp_path_factory: pytest.TempPathFactory, of: tuple[Example, ...]) -> None:
        self.same(tmp_path_factory.mktemp("tevatron") / "rows.jsonl", of, "tevatron")

    @settings
    @given(examples())
    def test_beir(self, tmp_path_factory: pytest.TempPathFactory, of: tuple[Example, ...]) -> None:
        self.same(tmp_path_factory.mktemp("beir") / "rows", of, "beir")

    @settings
    @given(st.data(), st.sampled_from([".jsonl", ".csv"]), st.booleans())
    def test_scored(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ending: str, is_label: bool
    ) -> None:
        said = data.draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=5, unique=True))
        scores = st.integers(0, 3).map(float) if is_label else st.floats(0, 1)
        pairs = tuple(
            Scored(data.draw(passages(a)), data.draw(passages(b)), data.draw(scores), is_label) for a, b in said
        )
        path = tmp_path_factory.mktemp("scored") / f"rows{ending}"
        write(Rows(scored=pairs), path, "labelled" if is_label else "scored")
        assert read(path) == Rows(scored=pairs)

    @staticmethod
    def same(path: Path, of: tuple[Example, ...], form: Format) -> None:
        write(Rows(of), path, form)
        found = read(path)
        # Where nothing of a text is known, Tevatron and BEIR name it by itself.
        assert found.examples == of
        assert not found.dropped


def test_columns_stand_in_the_order_that_sentence_transformers_reads(tmp_path: Path) -> None:
    example = Example("Who signs?", (Passage("Finance signs."),), (Passage("HR hires."), Passage("IT mends.")))
    for form, columns in {
        "pairs": ["anchor", "positive"],
        "triplets": ["anchor", "positive", "negative"],
        "tuples": ["anchor", "positive", "negative_1", "negative_2"],
        "scored": ["sentence1", "sentence2", "score"],
        "labelled": ["sentence1", "sentence2", "label"],
    }.items():
        write(Rows((example,)), tmp_path / f"{form}.jsonl", form)  # type: ignore[arg-type]
        row = json.loads((tmp_path / f"{form}.jsonl").read_text().splitlines()[0])
        assert list(row) == columns


# --- what others write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"anchor": "Who?", "positive": "Ann.", "negative": "Bob."},
        {"query": "Who?", "positive": "Ann.", "negative_1": "Bob."},
        {"query": "Who?", "pos": ["Ann."], "neg": ["Bob."]},
        {"Question": "Who?", "Positives": ["Ann."], "Negatives": ["Bob."]},
        {
            "query_id": "1",
            "query": "Who?",
            "positive_passages": [{"docid": "", "title": "", "text": "Ann."}],
            "negative_passages": [{"docid": "", "title": "", "text": "Bob."}],
        },
    ],
)
def test_a_format_is_known_by_its_columns(tmp_path: Path, row: dict[str, Any]) -> None:
    for path, content in ((tmp_path / "a.txt", json.dumps(row)), (tmp_path / "b.txt", json.dumps([row], indent=1))):
        path.write_text(content)
        assert is_training_data(path)
        assert read(path).examples == (Example("Who?", (Passage("Ann."),), (Passage("Bob."),)),)


def test_negatives_come_in_the_order_of_their_numbers_and_empty_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("anchor,positive,negative_10,negative_2,negative_1\nWho?,Ann.,j,b,a\nWhen?,Now.,,,x\n")
    who, when = read(path).examples
    assert [passage.text for passage in who.negatives] == ["a", "b", "j"]
    assert [passage.text for passage in when.negatives] == ["x"]


def test_questions_to_evaluate_with_are_no_rows_to_train_on(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "q.jsonl", {"question": "Who?", "answer": "Ann"})
    assert not is_training_data(path)
    with pytest.raises(
        DatasetError, match=r"no training data \(question, answer\); make rows .*: openbook finetune data"
    ):
        read(path)


def test_a_title_stands_above_its_text(tmp_path: Path) -> None:
    passage = {"docid": "d1", "title": "Leave", "text": "30 days."}
    path = jsonl(tmp_path / "t.jsonl", {"query_id": "1", "query": "How many?", "positive_passages": [passage]})
    assert read(path).examples[0].positives == (Passage("Leave\n30 days.", "d1"),)


def test_positives_of_one_query_come_together_and_what_is_said_twice_is_told(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "rows.jsonl",
        {"anchor": "Who signs?", "positive": "Finance."},
        {"anchor": "Who signs?", "positive": "Finance."},
        {"anchor": "who signs", "positive": "The CFO."},
    )
    found = read(path)
    assert [[p.text for p in example.positives] for example in found.examples] == [["Finance.", "The CFO."]]
    assert found.dropped == (Dropped(f"{path}:2", "said twice"),)


def test_a_positive_is_no_negative_of_its_own_query() -> None:
    rows = [
        Example("Who?", (Passage("Ann."),), (Passage("Bob."),)),
        Example("Who?", (Passage("Bob."),), (Passage("Cid."),)),
    ]
    (example,), (told,) = merged(rows)
    assert [p.text for p in example.positives] == ["Ann.", "Bob."]
    assert [p.text for p in example.negatives] == ["Cid."]
    assert "taken for a positive" in told.reason


# --- one kind as another ----------------------------------------------------------------------------------------------


def test_labels_of_1_and_0_make_positives_and_negatives(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "rows.jsonl",
        {"sentence1": "Who?", "sentence2": "Ann.", "label": 1},
        {"sentence1": "Who?", "sentence2": "Bob.", "label": 0},
    )
    write(read(path), tmp_path / "triplets.jsonl", "triplets")
    assert read(tmp_path / "triplets.jsonl").examples == (Example("Who?", (Passage("Ann."),), (Passage("Bob."),)),)
    write(read(tmp_path / "triplets.jsonl"), tmp_path / "again.jsonl", "labelled")
    assert read(tmp_path / "again.jsonl") == read(path)


@pytest.mark.parametrize(
    ("data", "form", "message"),
    [
        (Rows(scored=(Scored(Passage("a"), Passage("b"), 0.7),)), "pairs", "a score of 0.7 says neither"),
        (Rows(scored=(Scored(Passage("a"), Passage("b"), 0.7),)), "labelled", "a score of 0.7 is no label"),
        (Rows((Example("Who?", (Passage("Ann."),)),)), "triplets", "Who?: no negative for triplets; mine some"),
        (
            Rows(
                (
                    Example("a", (Passage("b"),), (Passage("c"),)),
                    Example("d", (Passage("e"),), (Passage("f"), Passage("g"))),
                )
            ),
            "tuples",
            "n-tuples of 1 and of 2 negatives",
        ),
    ],
)
def test_what_a_format_cannot_say_is_told(tmp_path: Path, data: Rows, form: Format, message: str) -> None:
    with pytest.raises(DatasetError) as failed:
        write(data, tmp_path / "rows.jsonl", form)
    assert message in str(failed.value)


@pytest.mark.parametrize(("name", "form"), [("rows.csv", "beir"), ("rows.tsv", "tevatron"), ("rows.jsonl", "squad")])
def test_a_format_that_is_none_is_refused(tmp_path: Path, name: str, form: Any) -> None:
    with pytest.raises(QueryError):
        write(Rows((Example("a", (Passage("b"),)),)), tmp_path / name, form)


# --- what is wrong is told with its line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "rows.jsonl: empty"),
        (['{"anchor": "Who?"}'], "no training data (anchor)"),
        (['{"anchor": "Who?", "positive": "Ann."}', '{"anchor": "Who?"}'], "rows.jsonl:2: no column positive"),
        (['{"anchor": "Who?", "positive": " "}'], "rows.jsonl:1: no text in its column positive"),
        (['{"anchor": 3, "positive": "Ann."}'], "rows.jsonl:1: no text in its column anchor"),
        (['{"anchor": "Who?", "positive": ["Ann.", 4]}'], "rows.jsonl:1: no text in its column positive"),
        (['{"anchor": "Who?", "positive": "Ann."}', "{"], "rows.jsonl:2: not JSON"),
        (['{"anchor": "Who?", "positive": "Ann."}', "[]"], "rows.jsonl:2: not an object"),
        (['["Who?", "Ann."]'], 'rows.jsonl, row 1: not an object; write {"anchor"'),
        (['{"sentence1": "a", "sentence2": "b", "score": "high"}'], "rows.jsonl:1: its score is 'high'"),
        (['{"sentence1": "a", "sentence2": "b", "score": NaN}'], "rows.jsonl:1: its score is nan"),
        (['{"sentence1": "a", "sentence2": "b"}'], "rows.jsonl:1: no column score"),
        (
            [f'{{"sentence1": "a", "sentence2": "b", "label": {label}}}' for label in (1, 0)],
            "rows.jsonl:2: a pair with two scores, 1",
        ),
        (['{"query": "a", "positive_passages": []}'], "rows.jsonl:1: no positive passage"),
        (['{"query": "a", "positive_passages": ["b"]}'], "rows.jsonl:1: positive_passages is no list of passages"),
        (['{"anchor": "a", "positive": "b", "metadata": 3}'], "rows.jsonl:1: metadata is no object"),
        (
            ['{"anchor": "a", "positive": "b", "metadata": {"documents": ["x", "y"]}}'],
            "rows.jsonl:1: its metadata has not one of documents for each text",
        ),
        (["anchor,positive", "a,b,c"], "rows.jsonl:2: 3 cells under 2 columns"),
        (["anchor,positive", 'a,"b'], "rows.jsonl:2: not a table"),
    ],
)
def test_a_row_that_cannot_be_understood_is_told(tmp_path: Path, lines: Sequence[str], message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(DatasetError) as failed:
        read(path)
    assert message in str(failed.value)
    assert "\n" not in str(failed.value)


def test_labels_of_texts_that_are_not_there_are_dropped_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    jsonl(tmp_path / "queries.jsonl", {"_id": "q1", "text": "Who?"}, {"_id": "q2", "text": "When?"})
    texts = {"d2": "Bob.", "d3": "Cid."}
    others = [{"_id": id, "text": text} for id, text in texts.items()]
    jsonl(tmp_path / "corpus.jsonl", {"_id": "d1", "title": "Names", "text": "Ann."}, *others)
    qrels = tmp_path / "qrels" / "train.tsv"
    qrels.write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\tgone\t1\nq2\tgone\t1\nq9\td1\t1\nq1\td2\t0\nq1\td3\t0\n"
    )
    found = read(tmp_path)
    assert found.examples == (
        Example("Who?", (Passage("Names\nAnn.", "d1"),), (Passage("Bob.", "d2"), Passage("Cid.", "d3"))),
    )
    assert found.dropped == (
        Dropped(f"{qrels}:3", "no document 'gone'"),
        Dropped(f"{qrels}:4", "no document 'gone'"),
        Dropped(f"{qrels}:5", "no query 'q9'"),
        Dropped(f"{tmp_path / 'queries.jsonl'}:2", "no positive"),
    )


def test_a_folder_without_a_train_split_is_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    for name in ("queries.jsonl", "corpus.jsonl", "qrels/test.tsv"):
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=r"holds no qrels/train\.tsv; only what is to be trained on is read"):
        read(tmp_path)


def test_labels_of_another_corpus_are_refused(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    jsonl(tmp_path / "queries.jsonl", {"_id": "q1", "text": "Who?"})
    jsonl(tmp_path / "corpus.jsonl", {"_id": "d1", "text": "Ann."})
    (tmp_path / "qrels" / "train.tsv").write_text("q1\td1\t1\nq1\ta\t1\nq1\tb\t1\n")
    with pytest.raises(DatasetError, match="2 of 3 labels refer to what is not there, such as no document 'a'"):
        read(tmp_path)


def test_pairs_that_two_files_have_are_taken_once() -> None:
    """Of five pairs in each of two files ten were counted, which is enough to train on."""
    pairs = tuple(Scored(Passage(f"a {n}"), Passage(f"b {n}"), n % 2, where=f"s:{n}") for n in range(5))
    both = joined([Rows(scored=pairs), Rows(scored=tuple(replace(one, where="t:1") for one in pairs))])
    assert both.scored == pairs
    assert [one.reason for one in both.dropped] == ["said twice"] * 5
    with pytest.raises(DatasetError, match="a pair with two scores"):
        joined([Rows(scored=pairs), Rows(scored=(replace(pairs[0], score=0.5),))])
