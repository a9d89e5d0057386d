"""The public face: a name that goes is a broken program somewhere."""

from __future__ import annotations

import openbook


def test_the_public_names() -> None:
    assert sorted(openbook.__all__) == [
        "Answer",
        "Chunk",
        "Citation",
        "Document",
        "Hit",
        "KnowledgeBase",
        "OpenbookError",
        "Recipe",
        "Skipped",
        "Trace",
        "import_",
        "open",
    ]
    for name in openbook.__all__:
        assert getattr(openbook, name).__doc__


def test_every_error_is_an_openbook_error_and_is_drawn_in_the_tree() -> None:
    from openbook import errors

    for name, value in vars(errors).items():
        if isinstance(value, type) and value.__module__ == errors.__name__:
            assert issubclass(value, openbook.OpenbookError)
            assert name in (errors.__doc__ or "")


def test_an_error_is_one_line() -> None:
    error = openbook.OpenbookError("it broke\nbadly", where="a.pdf", do="mend it")
    assert str(error) == "a.pdf: it broke badly; mend it"
