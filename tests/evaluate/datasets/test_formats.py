"""What others write is read as they meant it; what cannot be understood is told with its file and line."""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.datasets.formats import read, read_qrels, read_run, write_jsonl, write_qrels, write_run
from openbook.evaluate.measures.ranking import measured

settings = hypothesis_settings(deadline=None, max_examples=60)

Beir = Callable[..., Path]


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def beir(tmp_path: Path) -> Beir:
    """Makes a BEIR folder; qrels are ``{"test": "q1 d1 1\\n…"}``."""

    def make(
        queries: dict[str, str],
        qrels: dict[str, list[tuple[str, str, object]]],
        answers: list[dict[str, Any]] | None = None,
        corpus: dict[str, str] | None = None,
    ) -> Path:
        folder = tmp_path / "set"
        (folder / "qrels").mkdir(parents=True)
        jsonl(folder / "queries.jsonl", *({"_id": id, "text": text} for id, text in queries.items()))
        for name, rows in qrels.items():
            lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
            (folder / "qrels" / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if answers is not None:
            jsonl(folder / "answers.jsonl", *answers)
        if corpus is not None:
            jsonl(folder / "corpus.jsonl", *({"_id": id, "text": text} for id, text in corpus.items()))
        return folder

    return make


# --- BEIR -------------------------------------------------------------------------------------------------------------


def test_judged_questions_come_first_and_unanswerable_ones_are_kept(beir: Beir) -> None:
    folder = beir(
        {"q1": "No one knows?", "q2": "Who pays?", "q3": "Never judged?", "q4": "Who signs?"},
        {"test": [("q4", "d1", 2), ("q2", "d1", 1), ("q2", "d2", 0)]},
        [{"query_id": "q1", "answers": [], "answerable": False}, {"query_id": "q2", "answers": ["Finance"]}],
    )
    read_ = read(folder)
    assert list(read_.questions) == ["q2", "q4", "q1"]
    assert read_.questions["q2"].judgements == {"d1": 1, "d2": 0}
    assert read_.questions["q2"].answers == ("Finance",)
    assert read_.questions["q2"].answerable is None
    assert read_.questions["q1"].answerable is False
    assert list(read_.select(limit=2).questions) == ["q2", "q4"]
    assert read_.name == "set"
    assert read_.corpus is None


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (("test",), {"test": None}),
        (("train", "test"), {"train": "train", "test": None}),
        (("train", "dev", "test"), {"train": "train", "dev": "dev", "test": "test"}),
        (("validation", "test"), {"validation": "dev", "test": "test"}),
        (("everything",), {"everything": None}),
    ],
)
def test_the_name_of_qrels_says_the_split(beir: Beir, files: tuple[str, ...], splits: dict[str, str | None]) -> None:
    folder = beir({name: f"Asked in {name}?" for name in files}, {name: [(name, "d", 1)] for name in files})
    assert {id: question.split for id, question in read(folder).questions.items()} == splits


def test_questions_to_train_on_are_read_and_never_measured(beir: Beir) -> None:
    qrels = {"train": [(f"t{n}", "d", 1) for n in range(20)], "test": [(f"q{n}", "d", 1) for n in range(20)]}
    folder = beir({id: "What?" for rows in qrels.values() for id, _, _ in rows}, qrels)
    read_ = read(folder)
    assert len(read_.questions) == 40
    assert set(read_.select("all").questions) == {f"q{n}" for n in range(20)}
    assert len(read_.select("dev").questions) + len(read_.select("test").questions) == 20


def test_splits_that_answers_say_count_only_where_no_qrels_say_them(beir: Beir) -> None:
    answers = [
        {"query_id": "q1", "answers": ["a"], "split": "train"},
        {"query_id": "q2", "answerable": False, "split": "test"},
        {"query_id": "q3", "answerable": False, "split": "train"},
    ]
    folder = beir({"q1": "One?", "q2": "Two?", "q3": "Three?"}, {"test": [("q1", "d", 1)]}, answers)
    assert {id: q.split for id, q in read(folder).questions.items()} == {"q1": None, "q2": None, "q3": "train"}


def test_one_of_several_qrels_can_be_named(beir: Beir, tmp_path: Path) -> None:
    folder = beir(
        {"q1": "One?", "q2": "Two?", "q3": "Three?"},
        {"train": [("q1", "d", 1)], "test": [("q2", "d", 1)]},
        [{"query_id": id, "answers": ["x"]} for id in ("q1", "q2", "q3")],
    )
    assert list(read(folder, qrels="train").questions) == ["q1", "q3"]
    assert read(folder, qrels="train").questions["q1"].split is None
    (tmp_path / "mine.txt").write_text("q3 0 d 1\n")
    assert list(read(folder, qrels=tmp_path / "mine.txt").questions) == ["q3"]
    with pytest.raises(DatasetError, match=r"holds no qrels/dev\.tsv; choose of those there: test, train"):
        read(folder, qrels="dev")


def test_evidence_comes_with_its_text_whether_it_is_quoted_or_counted(beir: Beir) -> None:
    folder = beir(
        {"q1": "Who pays?", "q2": "When?"},
        {"test": [("q1", "d1", 1), ("q2", "d1", 1)]},
        [
            {"query_id": "q1", "answers": ["Finance"], "evidence": [{"doc_id": "d1", "text": "Finance pays."}]},
            {
                "query_id": "q2",
                "answers": ["monthly", "Friday"],
                "spans": [{"doc_id": "d1", "start": 0, "end": 7}, {"contract": "annex", "start": 3, "end": 9}],
            },
        ],
        {"d1": "Finance pays. Monthly."},
    )
    questions = read(folder).questions
    assert questions["q1"].evidence == (Evidence("d1", "Finance pays."),)
    # the corpus tells what stands there; where it does not hold the document, the answers do
    assert questions["q2"].evidence == (Evidence("d1", "Finance", 0, 7), Evidence("annex", "Friday", 3, 9))
    assert read(folder).corpus == folder / "corpus.jsonl"


def test_what_a_query_says_besides_its_text_only_cuts_the_report(beir: Beir) -> None:
    folder = beir({"q1": "Who?"}, {"test": [("q1", "d", 1)]})
    row = {"_id": "q1", "text": "Who?", "url": "d", "answer": "HR", "metadata": {"lang": "en", "tags": ["a"], "x": {}}}
    jsonl(folder / "queries.jsonl", row)
    question = read(folder).questions["q1"]
    assert (question.evidence, question.answers) == ((), ())
    assert question.metadata == {"lang": "en", "tags": ("a",)}


def test_an_id_with_spaces_and_quotes_is_read_whole(beir: Beir) -> None:
    folder = beir({'a "b': "Who?"}, {"test": [('a "b', 'staff "handbook" 2', 1)]})
    assert read(folder).questions['a "b'].judgements == {'staff "handbook" 2': 1}


# --- a row a question -------------------------------------------------------------------------------------------------

WHOLE = Question(
    "q7",
    "How long is parental leave?",
    answers=("16 weeks", "four months"),
    answerable=True,
    evidence=(Evidence("leave.md", "Parental leave is 16 weeks."), Evidence("leave.md", "It is paid.")),
    split="dev",
    metadata={"language": "en"},
)
ROW = {
    "id": "q7",
    "question": "How long is parental leave?",
    "answers": ["16 weeks", "four months"],
    "answerable": True,
    "evidence": ["Parental leave is 16 weeks.", "It is paid."],
    "source": "leave.md",
    "split": "validation",
    "language": "en",
}


def table(path: Path, rows: list[dict[str, Any]], delimiter: str, dumps: Callable[[Any], str] = json.dumps) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows({k: dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows)
    return path


def test_one_question_is_the_same_in_every_format(tmp_path: Path) -> None:
    other = {**ROW, "id": "q8", "question": 'Is it paid,\n"really"?'}
    columns = {name: [ROW[name], other[name]] for name in ROW}
    files = [
        jsonl(tmp_path / "a.jsonl", ROW, other),
        jsonl(tmp_path / "b.json", [ROW, other]),
        jsonl(tmp_path / "c.json", {"data": [ROW, other]}),
        jsonl(tmp_path / "d.json", columns),
        table(tmp_path / "e.csv", [ROW, other], ","),
        table(tmp_path / "f.tsv", [ROW, other], "\t"),
        table(tmp_path / "g.csv", [ROW, other], ";"),
        table(tmp_path / "h.csv", [ROW, other], ",", str),  # lists as pandas writes them
    ]
    pretty = tmp_path / "i.json"
    pretty.write_text(json.dumps([ROW, other], indent=2))
    files.append(pretty)
    packed = tmp_path / "j.jsonl.gz"
    packed.write_bytes(gzip.compress(files[0].read_bytes()))
    files.append(packed)
    windows = tmp_path / "k.csv"
    windows.write_bytes(b"\xef\xbb\xbf" + files[4].read_bytes())  # the csv module writes Windows' line ends
    files.append(windows)
    for file in files:
        questions = read(file).questions
        assert questions["q7"] == WHOLE, file.name
        assert questions["q8"].text == other["question"], file.name


def test_byte_order_marks_windows_line_ends_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    lines = [json.dumps(ROW), "", json.dumps({**ROW, "id": "q8"}), "   "]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert list(read(file).questions) == ["q7", "q8"]
    assert read(file).questions["q7"] == WHOLE
    assert read(file).name == "set"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {  # ragas since 0.2
                "user_input": "Who pays?",
                "reference": "Finance.",
                "reference_contexts": ["Finance pays."],
                "retrieved_contexts": ["HR hires."],
                "response": "HR.",
            },
            {"answers": ("Finance.",), "evidence": (Evidence("", "Finance pays."),)},
        ),
        (  # ragas before: what a system answered and found is nothing that is known of the question
            {"question": "Who pays?", "ground_truth": "Finance.", "contexts": ["HR hires."], "answer": "HR."},
            {"answers": ("Finance.",)},
        ),
        (
            {"question": "Who pays?", "ground_truths": ["Finance.", "FIN"], "contexts": ["HR hires."], "answer": "HR."},
            {"answers": ("Finance.", "FIN")},
        ),
        (
            {"Query": "Who pays?", "Expected Output": "Finance.", "Context": "Finance pays.", "document": "pay.md"},
            {"answers": ("Finance.",), "evidence": (Evidence("pay.md", "Finance pays."),)},
        ),
        (
            {"question": "Who pays?", "quote": ["a", "b"], "sources": ["1.md", "2.md"]},
            {"evidence": (Evidence("1.md", "a"), Evidence("2.md", "b"))},
        ),
        ({"question": "Who pays?", "url": "https://x/pay"}, {"evidence": (Evidence("https://x/pay"),)}),
        (
            {
                "question": "Who pays?",
                "corpus_id": "pay",
                "references": [{"content": "Finance", "start_index": 4, "end_index": 11}],
            },
            {"evidence": (Evidence("pay", "Finance", 4, 11),)},
        ),
        (  # SQuAD as Hugging Face has it
            {"question": "Who pays?", "context": "Finance.", "answers": {"text": ["Finance"], "answer_start": [0]}},
            {"answers": ("Finance",), "answerable": True, "evidence": (Evidence("", "Finance."),)},
        ),
        (
            {"question": "Who pays?", "context": "HR hires.", "answers": {"text": [], "answer_start": []}},
            {"answerable": False},
        ),
        ({"question": "Who pays?", "is_impossible": "True"}, {"answerable": False}),
        ({"question": "Is it paid?", "answer": True}, {"answers": ("yes",)}),
        ({"question": "How many?", "answer": 42}, {"answers": ("42",)}),
        ({"question": "How many?", "answers": ["", " "]}, {}),
        ({"question": "Who?", "judgements": {"a.md": 2, "b.md": 0}}, {"judgements": {"a.md": 2, "b.md": 0}}),
        ({"question": "Who?", "judgements": ["a.md"]}, {"judgements": {"a.md": 1}}),
        ({"question": "Which?", "schema": {"type": "object"}}, {"schema": {"type": "object"}}),
        ({"question": "Who?", "team": "hr", "note": "x" * 101}, {"metadata": {"team": "hr"}}),
        ({"question": "Who?", "score": math.nan, "team": None}, {}),
    ],
)
def test_the_usual_columns_are_understood(tmp_path: Path, row: dict[str, Any], expected: dict[str, Any]) -> None:
    [question] = read(jsonl(tmp_path / "set.jsonl", row)).questions.values()
    text = next(value for name, value in row.items() if name.lower() in ("question", "query", "user_input"))
    assert question == Question(question.id, text, **expected)


def test_a_question_without_an_id_keeps_the_one_it_is_given_wherever_it_stands(tmp_path: Path) -> None:
    """The id decides the split: a row more must not move the others."""
    rows = [{"question": f"What is {n}?"} for n in range(5)]
    first = read(jsonl(tmp_path / "a.jsonl", *rows)).questions
    assert read(jsonl(tmp_path / "b.jsonl", {"question": "New?"}, *reversed(rows))).questions.items() >= first.items()


def test_squad_tells_answers_evidence_and_what_is_impossible(tmp_path: Path) -> None:
    context = "Otters live in rivers. They eat fish and crabs. Some hold hands."
    qas = [
        {
            "id": "a",
            "question": "What do otters eat?",
            "is_impossible": False,
            "answers": [{"text": "fish", "answer_start": 32}, {"text": "fish and crabs", "answer_start": 32}],
        },
        {"id": "b", "question": "Why?", "is_impossible": True, "answers": [], "plausible_answers": []},
    ]
    article = {"title": "Otters", "paragraphs": [{"context": context, "qas": qas}]}
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"version": "v2.0", "data": [article]}))
    a, b = read(file).questions.values()
    assert a.answers == ("fish", "fish and crabs")
    assert a.evidence == (Evidence("Otters", "They eat fish and crabs.", 23, 47),)
    assert (a.answerable, b.answerable, b.evidence) == (True, False, ())
    qas[0]["answers"] = [{"text": "fish", "answer_start": 3}]
    file.write_text(json.dumps({"data": [article]}))
    with pytest.raises(DatasetError, match=r"squad\.json, question a: the answer 'fish' does not stand at 3"):
        read(file)


# --- TREC -------------------------------------------------------------------------------------------------------------

TOPICS = """<top>
<num> Number: 301
<title> Topic: otters &amp; rivers

<desc> Description:
Where do otters live?
</top>

<top>
<num> 302 <title> crab
 fishing
</top>
"""
XML = """<?xml version="1.0"?><topics>
<topic number="301"><query>otters &amp; rivers</query><question>Where do otters live?</question></topic>
<topic number="302"><title>crab fishing</title></topic></topics>"""


@pytest.mark.parametrize("text", [TOPICS, XML, "301\totters & rivers\n302\tcrab fishing\n"])
def test_topics_and_qrels_are_one_data_set_whichever_is_named_first(tmp_path: Path, text: str) -> None:
    topics, qrels = tmp_path / "topics", tmp_path / "qrels.txt"
    topics.write_text(text)
    qrels.write_text("301 0 DOC-1 2\n301 0 DOC-2 -1\n302\t0\tDOC-1\t0\n")
    for read_ in (read(topics, qrels=qrels), read(qrels, questions=topics)):
        assert {id: q.text for id, q in read_.questions.items()} == {"301": "otters & rivers", "302": "crab fishing"}
        assert read_.questions["301"].judgements == {"DOC-1": 2, "DOC-2": -1}
        assert read_.name == "topics"


ids = st.text(st.sampled_from("abzABZ019-_é你"), min_size=1, max_size=4)
scores = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-9, 1.0 - 1e-9, 16777216.0, 16777217.0, -3.5]),
    st.floats(-1e30, 1e30, allow_nan=False),
)


@settings
@given(
    run=st.dictionaries(ids, st.dictionaries(ids, scores, min_size=1, max_size=12), min_size=1, max_size=4),
    data=st.data(),
)
def test_a_run_is_read_in_the_order_of_trec_eval(
    run: dict[str, dict[str, float]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Equal scores, and such as are equal in 32 bits only, are ordered by document: what trec_eval makes of the scores
    is what our measures make of the order."""
    import pytrec_eval

    file = tmp_path_factory.mktemp("run") / "run"
    lines = [f"{q} Q0 {d} {n} {score!r} tag" for q, found in run.items() for n, (d, score) in enumerate(found.items())]
    file.write_text("\n".join(data.draw(st.permutations(lines))), encoding="utf-8")
    grades = {q: {d: data.draw(st.integers(0, 3)) for d in found} for q, found in run.items()}
    rankings = read_run(file).rankings
    assert {q: set(found) for q, found in rankings.items()} == {q: set(found) for q, found in run.items()}
    theirs = pytrec_eval.RelevanceEvaluator(grades, {"ndcg_cut.10", "recip_rank"}).evaluate(run)
    ours = measured(["ndcg@10"], grades, rankings)["ndcg@10"]
    for q, values in theirs.items():
        assert ours[q] == pytest.approx(values["ndcg_cut_10"], abs=1e-9)
        first = next((n for n, d in enumerate(rankings[q], 1) if grades[q][d] > 0), None)
        assert (1 / first if first else 0) == pytest.approx(values["recip_rank"], abs=1e-9)


@settings
@given(st.dictionaries(ids, st.lists(ids, unique=True, min_size=1, max_size=30), min_size=1, max_size=4))
def test_a_run_that_is_written_comes_back_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, rankings: dict[str, list[str]]
) -> None:
    file = tmp_path_factory.mktemp("run") / "run.gz"
    write_run(rankings, plain := file.with_suffix(".txt"), name="mine")
    file.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (file, plain):
        run = read_run(path)
        assert run.name == "mine"
        assert {q: list(found) for q, found in run.rankings.items()} == rankings


@settings
@given(
    judged=st.dictionaries(ids, st.dictionaries(ids, st.integers(-2, 9), min_size=1), min_size=1),
    name=st.sampled_from(["test.tsv", "qrels.txt"]),
)
def test_qrels_that_are_written_come_back(
    tmp_path_factory: pytest.TempPathFactory, judged: dict[str, dict[str, int]], name: str
) -> None:
    path = tmp_path_factory.mktemp("qrels") / name
    write_qrels(judged, path)
    assert read_qrels(path) == judged


def test_what_trecs_files_cannot_say_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds a space"):
        write_run({"q1": ["a.md"], "q2": ["my file.md"]}, tmp_path / "run")
    with pytest.raises(DatasetError, match="holds a tab"):
        write_qrels({"q1": {"a.md": 1, "b\t.md": 1}}, tmp_path / "test.tsv")
    with pytest.raises(DatasetError, match="twice"):
        write_run({"q1": ["a.md", "a.md"]}, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


# --- openbook's own ---------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=()), min_size=1, max_size=20)  # lone surrogates, too
filled = words.filter(lambda text: bool(text.strip()))
scalars = st.one_of(st.text(max_size=10), st.integers(), st.booleans(), st.floats(allow_nan=False))
metadata = st.dictionaries(words, st.one_of(scalars, st.lists(scalars, max_size=3).map(tuple)), max_size=3)
offsets = st.one_of(
    st.just((None, None)), st.tuples(st.integers(0, 99), st.integers(1, 99)).map(lambda t: (t[0], t[0] + t[1]))
)
passages = st.one_of(
    st.builds(lambda source, text, o: Evidence(source, text, *o), st.text(max_size=9), filled, offsets),
    st.builds(Evidence, words),
)
questions = st.builds(
    Question,
    id=words,
    text=filled,
    judgements=st.dictionaries(st.text(max_size=9), st.integers(), max_size=3),
    answers=st.lists(filled, max_size=3).map(tuple),
    answerable=st.sampled_from([None, True, False]),
    evidence=st.lists(passages, max_size=3).map(tuple),
    schema=st.one_of(st.none(), st.dictionaries(words, st.one_of(scalars, st.lists(scalars)), max_size=2)),
    split=st.sampled_from([None, "train", "dev", "test"]),
    metadata=metadata,
)


@hypothesis_settings(deadline=None, max_examples=150)
@given(st.lists(questions, min_size=1, max_size=4, unique_by=lambda q: q.id), st.randoms())
def test_openbooks_own_format_keeps_all_that_is_known(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Question], random: Any
) -> None:
    path = tmp_path_factory.mktemp("own") / "set.jsonl"
    written = dataset("set", asked)
    write_jsonl(written, path)
    assert read(path) == written
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    random.shuffle(lines)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    shuffled = read(path)
    assert shuffled.questions == written.questions
    assert shuffled.hash == written.hash


def test_a_beir_folder_survives_being_written_as_jsonl(beir: Beir, tmp_path: Path) -> None:
    folder = beir(
        {"q1": "No one knows?", "q2": "Who pays?"},
        {"dev": [("q2", "d", 2)]},
        [{"query_id": "q1", "answerable": False, "split": "dev"}, {"query_id": "q2", "answers": ["Finance"]}],
    )
    write_jsonl(read(folder), tmp_path / "set.jsonl")
    assert read(tmp_path / "set.jsonl") == read(folder)


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "a"}\n\n{"question": ""}', r"set:3: a question without text"),
        (
            '{"question": "a"}\n{"answer": "a"}',
            r"set:2: no question among its columns \(answer\); name one of them que",
        ),
        ('{"question": "a"}\n{"question": null}', r"set:2: a question without text; fill its column question"),
        ('{"question": "a"}\n{"question": "b"', r"set:2: not JSON"),
        # A first line that is broken was told as the second, where a parser of the whole file stumbles.
        ('{"question": "a"\n{"question": "b"}\n', r"set:1: not JSON .*column 17"),
        ('\n{"question: "a"}\n{"question": "b"}\n', r"set:2: not JSON"),
        ('{"data": [\n{"question": "a"}\n{"question": "b"}]}', r"set:3: not JSON"),
        ('[\n{"question": "a"},\n{"question": }]', r"set:3: not JSON"),
        ('{"question": "a"}\n["b"]', r"set:2: not an object"),
        (
            '{"id": 1, "question": "a"}\n{"id": "1", "question": "b"}',
            r"set:2: two questions have the id '1' \(the first: line 1\)",
        ),
        ('{"question": "a"}\n{"question": "a"}', r"set:2: two questions have the id .*give each an id"),
        ('{"id": true, "question": "a"}\n', r"set:1: id is neither"),
        ('{"question": "a", "answers": [{}]}\n{}', r"set:1: answers: neither a text"),
        ('{"question": "a", "evidence": [["b"]]}\n{}', r"set:1: evidence is neither"),
        ('{"question": "a", "quotes": ["b", "c", "d"], "sources": ["1", "2"]}', r"2 sources for 3 passages"),
        ('{"question": "a", "evidence": [{"text": "b", "start": 5, "end": 5}]}', r"evidence from 5 to 5"),
        ('{"question": "a", "answerable": "perhaps"}', r"answerable is 'perhaps'; write true or false"),
        ('{"question": "a", "split": "mine"}', r"unknown split 'mine'"),
        ('{"question": "a", "judgements": {"d": 0.5}}', r"whole grades"),
        ('{"question": "a", "metadata": 3}', r"metadata is no object"),
        ("question,answer\nWho?,HR\nWhy?,a,b\n", r"set:3: 3 cells under 2 columns"),
        ('question,answer\n"Who?\nWhen?",HR\n,HR\n', r"set:4: a question without text"),
        ('question,answer\nWho?,"HR\n', r"set:\d: not a table"),
        ("question,Question\n", r"set:1: two columns named question"),
        (
            "Frage;Antwort\nWer?;HR\n",
            r"set:1: no question among its columns \(frage, antwort\); name one of them questi",
        ),
        ("q1\tWho?\nq2\n", r"set:2: not a question's id"),
        ("<top>\n<num> 1\n</top>", r"set:1: a topic without number or title"),
        ("<top>\n<num> 1 <title> a\n\n<top>\n<num> 2 <title> b\n</top>", r"set:1: a topic that does not end"),
        ("<top><num>1<title>a</top>\n<top>\n", r"set:2: a topic that does not end"),
        ("<html></html>", r"no TREC topics"),
        ("", r"set: empty; give a BEIR folder"),
        ("Otters live in rivers.\n", r"set: no data set of a known kind"),
        ("q1 0 d1 1\n", r"set: qrels without their questions"),
        ("q1 Q0 d1 1 2.5 tag\n", r"set: a run"),
        ("[]", r"set: no question in it"),
        ("[" * 100_000, r"not JSON"),
    ],
)
def test_what_cannot_be_understood_is_told_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "set"
    path.write_text(content)
    qrels = tmp_path / "qrels"
    qrels.write_text("q1 0 d 1\n")
    with pytest.raises(DatasetError, match=message) as told:
        read(path, qrels=qrels if content.startswith(("q1\t", "<")) else None)
    assert "\n" not in str(told.value)
    assert told.value.do


@pytest.mark.parametrize(
    ("bytes_", "message"),
    [
        (b'{"question": "a"}\n{"question": "\xff"}\n', r"set:2: not UTF-8"),
        ("{}".encode("utf-16"), r"set:1: not UTF-8"),
        (gzip.compress(b'{"question": "a"}', mtime=0)[:-9], r"set: cannot be unpacked"),
    ],
)
def test_what_is_no_text_is_told(tmp_path: Path, bytes_: bytes, message: str) -> None:
    (tmp_path / "set").write_bytes(bytes_)
    with pytest.raises(DatasetError, match=message):
        read(tmp_path / "set")


def test_a_column_that_is_misspelt_is_noted(beir: Beir, tmp_path: Path) -> None:
    """It was taken for one that cuts the report, and nothing was measured without a word."""
    rows = [
        {"question": "Who?", "anwsers": ["HR"], "team": "hr"},
        {"question": "Why?", "Evidance": "x", "answer_id": 3},
    ]
    set_ = read(jsonl(tmp_path / "slips.jsonl", *rows))
    assert set_.unread == {"anwsers": "answers", "team": None, "evidance": "evidence", "answer_id": None}
    assert set_.notes == [
        "slips: the column 'anwsers' is none that is read; was 'answers' meant?",
        "slips: the column 'evidance' is none that is read; was 'evidence' meant?",
    ]
    assert set_.select(limit=1).notes == set_.notes
    (tmp_path / "slips.csv").write_text("Question,Grund Truth\nWho?,HR\n")
    assert read(tmp_path / "slips.csv").unread == {"grund_truth": "ground_truth"}
    folder = beir({"q1": "Who?"}, {"test": [("q1", "d", 1)]}, [{"query_id": "q1", "anwser": "HR"}])
    assert read(folder).unread == {"anwser": "answer"}


def test_columns_that_are_meant_to_cut_the_report_are_not_noted(tmp_path: Path) -> None:
    names = (
        "team",
        "kind",
        "topic",
        "part",
        "lang",
        "question_type",
        "source_url",
        "context_id",
        "difficulty",
        "tests",
    )
    assert read(jsonl(tmp_path / "set.jsonl", {**ROW, **dict.fromkeys(names, "x")})).notes == []
    assert read(jsonl(tmp_path / "set.jsonl", {"question": "Who?", "judgments": {"d": 1}})).unread == {}


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.jsonl: cannot be read"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(DatasetError, match=r"holds no queries\.jsonl"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1\td1\t1.5", r"the grade '1\.5' is no whole number"),
        ("q1\td1\thigh", r"the grade 'high' is no whole number"),
        ("q1\td1", r"no judgement"),
        ("q1\t\t1", r"no judgement"),
        ("q1\td0\t2", r"document 'd0' has two grades for question 'q1' \(the first: line 2\)"),
        ("q9\td1\t1", r"1 judged question is not among the questions; add q9"),
    ],
)
def test_a_judgement_that_makes_no_sense_is_told(beir: Beir, line: str, message: str) -> None:
    folder = beir({"q1": "Who?"}, {"test": [("q1", "d0", 1)]})
    with (folder / "qrels" / "test.tsv").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DatasetError, match=message) as told:
        read(folder)
    assert told.value.where == (str(folder) if "q9" in line else f"{folder / 'qrels' / 'test.tsv'}:3")


def test_what_does_not_fit_together_in_a_folder_is_told(beir: Beir) -> None:
    folder = beir(
        {"q1": "Who?", "q2": "Why?"},
        {"train": [("q1", "d1", 1)], "test": [("q1", "d2", 1)]},
        [],
        {"d1": "One.", "d2": "Two."},
    )
    with pytest.raises(DatasetError, match=r"question 'q1' is judged in test\.tsv and in train\.tsv"):
        read(folder)
    (folder / "qrels" / "train.tsv").unlink()
    for row, message in (
        ({"query_id": "q3", "answers": ["x"]}, r"answers\.jsonl:1: no question has the id 'q3'"),
        ({"answers": ["x"]}, r"answers\.jsonl:1: an answer without query_id"),
    ):
        jsonl(folder / "answers.jsonl", row)
        with pytest.raises(DatasetError, match=message):
            read(folder)
    jsonl(folder / "answers.jsonl", {"query_id": "q1"}, {"query_id": "q1"})
    with pytest.raises(DatasetError, match=r"answers\.jsonl:2: a second answer to 'q1'"):
        read(folder)


@pytest.mark.parametrize("with_answers", [True, False])
def test_a_document_that_stands_twice_in_a_corpus_is_told(beir: Beir, with_answers: bool) -> None:
    """The second was skipped when it was indexed, and judged as if it were there."""
    folder = beir({"q1": "Who?"}, {"test": [("q1", "d1", 1)]}, [{"query_id": "q1"}] if with_answers else None, {})
    jsonl(
        folder / "corpus.jsonl",
        {"_id": "d1", "text": "One."},
        {"text": "Two.", "_id": "d2"},
        {"_id": "d1", "text": "x"},
    )
    with pytest.raises(DatasetError, match=r"corpus\.jsonl:3: two documents have the id 'd1' \(the first: line 1\)"):
        read(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 d1 2 0.5 tag", r"run:3: document 'd1' stands twice for question 'q1' \(the first: line 1\)"),
        ("q1 Q0 d2 2 nan tag", r"run:3: the score 'nan' is no finite number"),
        ("q1 Q0 d2 2 inf tag", r"run:3: the score 'inf' is no finite number"),
        ("q1 Q0 d2 2 1e999 tag", r"run:3: the score '1e999' is no finite number"),
        ("q1 Q0 d2 2 1_0 tag", r"run:3: the score '1_0' is no finite number"),
        ("q1 Q0 d2 2 0.5", r"run:3: no line of a run; write: qid Q0 docid rank score tag"),
        ("q1 Q0 my file 2 0.5 tag", r"run:3: no line of a run"),
    ],
)
def test_a_line_that_is_none_of_a_run_is_told(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "run").write_text(f"q1 Q0 d1 1 3.5 tag\n\n{line}\n")
    with pytest.raises(DatasetError, match=message):
        read_run(tmp_path / "run")


def test_ids_with_a_no_break_space_are_whole_to_trec_eval_and_to_us(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("q1 Q0 a\u00a0b 1 1.0 tag\n", encoding="utf-8")
    assert read_run(tmp_path / "run").rankings == {"q1": ("a\u00a0b",)}


def test_every_public_set_can_be_read(data: Path) -> None:
    read_ = {folder.name: read(folder) for folder in data.iterdir() if (folder / "queries.jsonl").is_file()}
    assert len(read_) >= 13
    squad = read_["squad2-a"].questions.values()
    assert sum(bool(question.judgements) for question in squad) == 1445
    assert sum(question.answerable is False for question in squad) == 1529
    assert all(question.judgements for question in list(squad)[:1445])
    assert len(read_["scifact"].select("all").questions) == 300
    assert isinstance(read_["scifact"], Dataset)


def test_the_examples_of_the_reference_can_be_read(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "datasets.md"
    for name, content in re.findall(r"^```\w+ (\S+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    own, faq, spans, ragas, squad, pond, topics, queries = (
        read(tmp_path / name, qrels=qrels and tmp_path / qrels)
        for name, qrels in (
            ("questions.jsonl", None),
            ("faq.csv", None),
            ("spans.jsonl", None),
            ("ragas.jsonl", None),
            ("squad.json", None),
            ("pond", None),
            ("topics.txt", "qrels.txt"),
            ("queries.tsv", "more.txt"),
        )
        if (tmp_path / "more.txt").write_text("302 0 otters 1\n")
    )
    assert [bool(q.evidence) for q in own.questions.values()] == [True, False, False, False]
    assert own.questions["desk-1"].answerable is False
    assert [q.answers for q in faq.questions.values()] == [("140",), ("in the yard", "the yard")]
    assert [q.metadata for q in faq.questions.values()] == [{"team": "finance"}, {"team": "facilities"}]
    assert next(iter(spans.questions.values())).evidence == (Evidence("travel", "within thirty days", 214, 232),)
    assert [q.answers for q in ragas.questions.values()] == [("Two directors.",), ("The team's lead.",)]
    assert [q.answerable for q in squad.questions.values()] == [True, False]
    assert pond.questions["q1"].judgements == {"otters": 1}
    assert [e.text for e in pond.questions["q1"].evidence] == ["They eat fish.", "fish"]
    assert topics.questions["301"].judgements == {"otters": 2, "crabs": 0}
    assert queries.questions["302"].text == "what do otters eat"
    assert read_run(tmp_path / "run.txt").rankings == {"301": ("otters", "crabs")}
