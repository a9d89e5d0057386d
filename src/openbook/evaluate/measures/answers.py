"""Is the answer right, and do its citations bear it? Measures that no model judges.

Answers are compared with the accepted ones as SQuAD's evaluation does (Rajpurkar et al., 2016), in languages other
than English as MLQA's does (Lewis et al., 2020): without case, punctuation and articles, as words or, where a script
sets no blanks, as characters. Citations and context are compared with located evidence, character by character.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from openbook.evaluate.datasets.dataset import Question, Span
from openbook.evaluate.measures import ranking
from openbook.evaluate.report import Measured, Outcome
from openbook.types import Citation, Hit

Tokens = tuple[str, ...]

# --- words ------------------------------------------------------------------------------------------------------------

ARTICLES: Mapping[str, frozenset[str]] = {
    language: frozenset(words.casefold().split())
    for language, words in {
        "en": "a an the",
        "de": "der die das den dem des ein eine einen einem einer eines",
        "fr": "le la les un une des",
        "es": "el la los las un una unos unas",
        "pt": "o a os as um uma uns umas",
        "it": "il lo la i gli le un uno una",
        "ca": "el la els les un una uns unes",
        "nl": "de het een",
        "sv": "en ett den det de",
        "da": "en et den det de",
        "nb": "en ei et den det de",
        "ro": "un o niște",
        "hu": "a az egy",
        "el": "ο η το οι τα του της των τον την τους τις ένας μία μια ένα ενός μιας",
        "vi": "của là cái chiếc những",  # MLQA's list
    }.items()
}
"""Words of a language that do not make two answers different; a language that is not named has none."""

_ELIDED = {
    "fr": re.compile(r"\bl['’]"),
    "it": re.compile(r"\b(?:l|un|gl)['’]"),
    "ca": re.compile(r"\bl['’]"),
    "nl": re.compile(r"(?<!\w)['’]t\b"),
}
_GAP = re.compile("[—―⸺⸻…]")  # stand between words, while other punctuation stands in or beside them
# Vowel signs of Hebrew and Arabic, tatweel, and the dot that case folding leaves of a Turkish capital.
_OPTIONAL = re.compile("[\u0307\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670]")
# Scripts written without blanks, and Korean, whose particles grow on to the word (KorQuAD counts its characters, too).
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)


def tokens(text: str, language: str = "en") -> Tokens:
    """What is compared: NFKC and case folded, without punctuation and the articles of ``language`` (ISO 639-1).

    ASCII punctuation goes as in SQuAD, symbols such as ``$`` and ``+`` with it, and leaves no gap. A text of nothing
    but articles, or nothing but punctuation, keeps them: the answer "A" is not the answer "the".

    >>> tokens("The Well-Known $1,000 Prize!")
    ('wellknown', '1000', 'prize')
    >>> tokens("L’école", "fr"), tokens("東京 Tower", "ja")
    (('école',), ('東', '京', 'tower'))
    """
    text = unicodedata.normalize("NFKC", _GAP.sub(" ", text)).casefold()
    if language in _ELIDED:
        text = _ELIDED[language].sub("", text)
    text = _UNSPACED.sub(r" \1 ", _OPTIONAL.sub("", text))
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")  # what nobody sees: soft hyphens, joiners
    words = "".join(c for c in text if not _is_punctuation(c)).split() or text.split()
    if language == "ar":
        words = [word[2:] if word.startswith("ال") and len(word) > 3 else word for word in words]
    articles = ARTICLES.get(language, frozenset())
    return tuple(word for word in words if word not in articles) or tuple(words)


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character)[0] == "P" or character == "−"


def exact_match(answer: Tokens, accepted: Sequence[Tokens]) -> float:
    """1 where the answer is one of the accepted ones.

    >>> exact_match(tokens("The 3rd of May."), [tokens("3rd of May"), tokens("May 3")])
    1.0
    """
    return float(bool(answer) and answer in accepted)


def f1(answer: Tokens, accepted: Sequence[Tokens]) -> float:
    """The harmonic mean of the precision and recall of the answer's tokens against the closest accepted answer.

    >>> f1(tokens("on the 3rd of May"), [tokens("3rd of May"), tokens("May")])
    0.8571428571428571
    """
    best = 0.0
    for wanted in accepted:
        shared = (Counter(answer) & Counter(wanted)).total()
        if shared:
            best = max(best, 2 * shared / (len(answer) + len(wanted)))
    return best


def contained(answer: Tokens, accepted: Sequence[Tokens]) -> float:
    """1 where an accepted answer stands in the answer, its tokens in order and side by side.

    For answers that quote or write whole sentences, which exact match can only call wrong.

    >>> contained(tokens("It ends on the 3rd of May."), [tokens("3rd of May")])
    1.0
    """
    there = f" {' '.join(answer)} "
    return float(any(f" {' '.join(wanted)} " in there for wanted in accepted if wanted))


# --- questions and outcomes -------------------------------------------------------------------------------------------


def is_answerable(question: Question) -> bool | None:
    """As the data set says; else yes where it knows an answer, evidence or a relevant document; ``None``: unknown."""
    if question.answerable is not None:
        return question.answerable
    known = bool(question.answers or question.evidence or relevant(question))
    return True if known else None


def accepted_answers(question: Question) -> tuple[str, ...]:
    """The answers to compare with, without blank ones; none where the answer is a form to fill (``adherence``)."""
    if is_answerable(question) is False or question.schema is not None:
        return ()
    return tuple(answer for answer in question.answers if answer.strip())


def relevant(question: Question) -> frozenset[str]:
    """The documents that are judged to be relevant, by source."""
    return frozenset(source for source, grade in question.judgements.items() if grade > 0)


def said(outcome: Outcome | None) -> str | None:
    """The answer's text without the marks of its citations; ``None`` for an abstention or a failure."""
    answer = None if outcome is None or outcome.error is not None else outcome.answer
    if answer is None or answer.abstained:
        return None
    return without_marks(answer.text, len(answer.citations)).strip() or None


def without_marks(text: str, citations: int) -> str:
    """``text`` without ``[1]`` to ``[citations]``, which a generator writes for the reader.

    >>> without_marks("Up to 30 days [1], paid [2]. See [3].", 2)
    'Up to 30 days, paid. See [3].'
    """
    return _MARK.sub(lambda mark: "" if 1 <= int(mark[1]) <= citations else mark[0], text)


_MARK = re.compile(r"[ \t]*\[([0-9]{1,4})\]")


def languages(questions: Iterable[Question]) -> dict[str, str]:
    """The ISO 639-1 code of each question's language, by its id.

    As ``metadata["lang"]`` says ("pt", "pt-BR"); else as the words of question and answers tell; else, for few words,
    as their script or all questions together tell; else English.
    """
    from openbook.load.draft import language_of

    questions = list(questions)
    common = language_of(" ".join(question.text for question in questions)) or "en"
    found = {}
    for question in questions:
        given = re.fullmatch(r"([a-z]{2})(?:[-_]\w+)*", str(question.metadata.get("lang", "")).strip().lower())
        text = " ".join((question.text, *question.answers))
        arabic = "ar" if _ARABIC.search(text) else None
        found[question.id] = given[1] if given else language_of(text) or arabic or common
    return found


_ARABIC = re.compile("[\u0620-\u064a]")

# --- measures ---------------------------------------------------------------------------------------------------------


def measure(
    questions: Mapping[str, Question],
    outcomes: Mapping[str, Outcome],
    spans: Mapping[str, Sequence[Span]],
    *,
    context: int | None = None,
) -> Measured:
    """What the answers are worth, where questions can be answered and the data set knows how; each in [0, 1].

    ============================= ================== =====================================================
    measure                     asked where known    is, for one question
    ============================= ================== =====================================================
    exact_match                 answers              whether the answer is an accepted one
    f1                          answers              its shared tokens with the closest accepted one
    answer_contained            answers              whether it holds an accepted one
    evidence_contained          evidence             the share of evidence that the generator was given
    citation_precision          evidence             the share of citations that overlap evidence
    citation_recall             evidence             the share of evidence that a citation overlaps
    citation_document_precision relevant documents   the share of citations from a relevant document
    ============================= ================== =====================================================

    ``spans[question]`` are its located pieces of evidence, ``context`` how many hits were handed to the generator.
    An abstention, a failure and an answer without citations count 0, so that no pipeline gains by staying silent;
    questions that cannot be answered are measured in ``abstention``. A measure that no question allows is left out.
    """
    from openbook.evaluate.report import Measured

    values: dict[str, dict[str, float]] = {name: {} for name in ("exact_match", "f1", "answer_contained")}
    language = languages(questions.values())
    for id, question in questions.items():
        accepted = [found for answer in accepted_answers(question) if (found := tokens(answer, language[id]))]
        if accepted:
            text = said(outcomes.get(id))
            answer = () if text is None else tokens(text, language[id])
            values["exact_match"][id] = exact_match(answer, accepted)
            values["f1"][id] = f1(answer, accepted)
            values["answer_contained"][id] = contained(answer, accepted)
    compared = Counter(language[id] for id in values["exact_match"])
    values["evidence_contained"] = evidence_contained(questions, outcomes, spans, context=context)
    values |= _citations(questions, outcomes, spans)
    return Measured(
        {name: per_question for name, per_question in values.items() if per_question},
        details={"languages": dict(compared.most_common())} if compared else {},
    )


def evidence_contained(
    questions: Mapping[str, Question],
    outcomes: Mapping[str, Outcome],
    spans: Mapping[str, Sequence[Span]],
    *,
    context: int | None = None,
) -> dict[str, float]:
    """The share of a question's passages of evidence that the first ``context`` hits hold (``None``: all hits).

    A passage is held where every character of it but blanks lies in a hit, or in several together; where it stands in
    several places, one of them is enough. Of one that was found by likeness (``Span.score`` below 1) as large a share
    as its score will do. A failure counts 0.
    """
    values = {}
    for id, passages in _located(questions, spans).items():
        hits = outcomes[id].hits[:context] if id in outcomes else ()
        values[id] = _share(any(_is_held(span, hits) for span in passage) for passage in passages)
    return values


def _is_held(span: Span, hits: Sequence[Hit]) -> bool:
    wanted = ranking.characters(span)
    return len(ranking.held(wanted, hits)) >= min(1.0, span.score) * len(wanted) - 1e-9


def _citations(
    questions: Mapping[str, Question], outcomes: Mapping[str, Outcome], spans: Mapping[str, Sequence[Span]]
) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {
        name: {} for name in ("citation_precision", "citation_recall", "citation_document_precision")
    }
    located = _located(questions, spans)
    for id, question in questions.items():
        outcome = outcomes.get(id)
        cited = outcome.answer.citations if outcome and outcome.answer and said(outcome) is not None else ()
        if id in located:
            overlaps = [
                [any(_overlap(citation, span) for span in passage) for passage in located[id]] for citation in cited
            ]
            values["citation_precision"][id] = _share(any(passages) for passages in overlaps)
            values["citation_recall"][id] = _share(any(citations) for citations in zip(*overlaps, strict=True))
        if is_answerable(question) and relevant(question):
            documents = relevant(question)
            values["citation_document_precision"][id] = _share(citation.source in documents for citation in cited)
    return values


def _located(questions: Mapping[str, Question], spans: Mapping[str, Sequence[Span]]) -> dict[str, list[list[Span]]]:
    """The passages of evidence of each answerable question of which some was found, with the places of each."""
    found = {
        id: ranking.passages(spans.get(id, ()))
        for id, question in questions.items()
        if is_answerable(question) is not False
    }
    return {id: passages for id, passages in found.items() if passages}


def _overlap(citation: Citation, span: Span) -> bool:
    return any(
        source == citation.source and citation.start <= at < citation.end for source, at in ranking.characters(span)
    )


def _share(true: Iterable[bool]) -> float:
    flags = list(true)
    return sum(flags) / len(flags) if flags else 0.0
