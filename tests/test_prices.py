"""The price file: list prices with their day, the user's own on top, and never 0 for what nobody has told."""

from __future__ import annotations

import json
import math
import subprocess
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.generate.loopback import ModelServer, Say

from openbook.errors import PriceError
from openbook.generate.language_model import LanguageModel
from openbook.prices import OLD_DAYS, PACKAGED, cost, price_of, prices
from openbook.recipe import LanguageModel as Part
from openbook.types import Chunk, Hit, Usage

Run = Callable[..., "subprocess.CompletedProcess[str]"]

OWN = """
[model."gpt-5-mini"]
input = 0.2
output = 1.5
as_of = 2026-10-01

[model."in-house-7b"]
input = 0.01
output = 0.03
as_of = 2026-10-01
source = "our accountant"

[rate.gpu_hour]
price = 1.9
as_of = 2026-10-01
"""


@pytest.fixture(autouse=True)
def nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No price file of whoever runs the tests; returns where theirs would lie."""
    monkeypatch.delenv("OPENBOOK_PRICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "openbook" / "prices.toml"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "own.toml"
        path.write_text(text)
        monkeypatch.setenv("OPENBOOK_PRICES", str(path))
        return path

    return write


def test_every_packaged_price_has_its_day_and_its_source() -> None:
    known = prices()
    assert known.files == (str(PACKAGED),)
    raw = tomllib.loads(PACKAGED.read_text())
    assert known.models.keys() == raw["model"].keys()
    assert known.rates.keys() == raw["rate"].keys()
    for entry in (*known.models.values(), *known.rates.values()):
        assert date(2025, 1, 1) < entry.as_of <= date.today()
        assert entry.source != "own price file"
    assert all(price.at for price in known.models.values()), "a list price holds at its provider's address"
    assert all(0 < rate.low <= rate.high for rate in known.rates.values())


def test_cost_is_by_the_million_tokens() -> None:
    price = price_of("gpt-5-mini")
    assert price is not None
    assert cost(Usage(1_000_000, 0), "gpt-5-mini") == price.input
    assert cost(Usage(0, 500_000), "gpt-5-mini") == price.output / 2


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_cost_is_the_sum_of_its_parts(a: int, b: int, c: int) -> None:
    price = price_of("claude-haiku-4-5")
    assert price is not None
    assert math.isclose(price.cost(a + b, c), price.cost(a) + price.cost(b) + price.cost(0, c), abs_tol=1e-9)


def test_an_unknown_price_is_none_and_not_zero() -> None:
    assert price_of("nobody-knows") is None
    assert cost(Usage(10, 10), "nobody-knows") is None
    assert cost(Usage(0, 0), "nobody-knows") is None


@pytest.mark.parametrize("name", ["gpt-5-mini-2025-08-07", "gpt-5-mini-latest", "gpt-5-mini"])
def test_a_snapshot_costs_what_its_model_costs(name: str) -> None:
    price = price_of(name)
    assert price is not None
    assert price.model == "gpt-5-mini"


@pytest.mark.parametrize("name", ["gpt-5-mini-high", "gpt-5-m", "gpt", "openai/gpt-5-mini", "GPT-5-MINI"])
def test_a_name_that_is_only_alike_has_no_price(name: str) -> None:
    assert price_of(name) is None


def test_a_list_price_holds_at_its_providers_address_only() -> None:
    assert price_of("gpt-5-mini", "api.openai.com") is not None
    assert price_of("gpt-5-mini", "gateway.example") is None


def test_own_entries_replace_and_add(own: Callable[[str], Path]) -> None:
    path = own(OWN)
    known = prices()
    assert known.files == (str(PACKAGED), str(path))
    mine = known.models["gpt-5-mini"]
    assert (mine.input, mine.output, mine.as_of, mine.source) == (0.2, 1.5, date(2026, 10, 1), "own price file")
    assert mine.file == str(path)
    assert known.of("gpt-5-mini", "gateway.example") == mine, "one's own price holds where one's own model answers"
    assert known.models["gpt-5"].file == str(PACKAGED)
    assert cost(Usage(1_000_000, 1_000_000), "in-house-7b", "10.0.0.7") == pytest.approx(0.04)
    gpu = known.rates["gpu_hour"]
    assert (gpu.low, gpu.high) == (1.9, 1.9)
    assert "hour" in gpu.unit, "the unit needs no repeating"


def test_a_price_of_one_host_goes_before_that_of_the_model(own: Callable[[str], Path]) -> None:
    own(OWN + '[model."10.0.0.7/in-house-7b"]\ninput = 1.0\nas_of = 2026-10-01\n')
    here, there = price_of("in-house-7b", "10.0.0.7"), price_of("in-house-7b", "10.0.0.8")
    assert here is not None
    assert there is not None
    assert (here.input, there.input) == (1.0, 0.01)


def test_the_usual_place_is_read_unless_another_is_named(nobodys_home: Path, own: Callable[[str], Path]) -> None:
    nobodys_home.parent.mkdir(parents=True)
    nobodys_home.write_text('[model."a"]\ninput = 1\nas_of = 2026-10-01\n')
    own('[model."b"]\ninput = 1\nas_of = 2026-10-01\n')
    assert (price_of("a"), price_of("b") is not None) == (None, True)


def test_the_usual_place_is_read(nobodys_home: Path) -> None:
    nobodys_home.parent.mkdir(parents=True)
    nobodys_home.write_text('[model."a"]\ninput = 1\nas_of = 2026-10-01\n')
    assert prices().files == (str(PACKAGED), str(nobodys_home))
    assert price_of("a") is not None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[model."a"]\ninput = "much"\nas_of = 2026-01-01', "model.a.input"),
        ('[model."a"]\ninput = -1\nas_of = 2026-01-01', "model.a.input"),
        ('[model."a"]\ninput = inf\nas_of = 2026-01-01', "model.a.input"),
        ('[model."a"]\ninput = 1', "model.a.as_of"),
        ('[model."a"]\ninput = 1\nas_of = "soon"', "model.a.as_of"),
        ('[model."a"]\ninputs = 1\nas_of = 2026-01-01', "model.a.input"),
        ("[rate.gpu_hour]\nprice = [3, 2]\nas_of = 2026-01-01", "rate.gpu_hour.price"),
        ("[rate.gpu_hour]\nprice = [3]\nas_of = 2026-01-01", "rate.gpu_hour.price"),
        ("[rate.gpu_hour]\nprice = true\nas_of = 2026-01-01", "rate.gpu_hour.price"),
        ("[rate.gpu_hour]\nprice = [-3, 1]\nas_of = 2026-01-01", "rate.gpu_hour.price"),
        ("[rate.lunch]\nprice = 9\nas_of = 2026-01-01", "rate.lunch.unit"),
        ("[models.a]\ninput = 1", "models"),
        ("model = 1", "model"),
        ("[model\n", "line 1"),
    ],
)
def test_a_wrong_file_is_one_line_with_file_and_key(own: Callable[[str], Path], text: str, key: str) -> None:
    path = own(text)
    with pytest.raises(PriceError) as caught:
        prices()
    assert str(caught.value).startswith(f"{path}: ")
    assert key in str(caught.value)
    assert caught.value.do
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(own: Callable[[str], Path]) -> None:
    path = own("")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PriceError, match="UTF-8"):
        prices()
    path.unlink()
    with pytest.raises(PriceError, match="cannot be read"):
        prices()


def test_old_prices_are_noted(own: Callable[[str], Path]) -> None:
    own(OWN)
    known = prices()
    written = date(2026, 10, 1)
    mine = {"in-house-7b", "gpu_hour", "gpt-5-mini"}
    on_the_day = " ".join(known.notes(date.fromordinal(written.toordinal() + OLD_DAYS)))
    assert not any(name in on_the_day.split() for name in mine)
    later = [n for n in known.notes(date.fromordinal(written.toordinal() + OLD_DAYS + 1)) if "2026-10-01" in n]
    assert later == [
        f"{OLD_DAYS + 1} days old (2026-10-01): gpt-5-mini, in-house-7b, gpu_hour; check what they cost now"
    ]


# --- what an answer costs ---------------------------------------------------------------------------------------------


def ask(server: ModelServer, model: str) -> Usage:
    text = "You get ten paid sick days a year."
    hit = Hit("leave", 1, "file:///leave.md", "Leave", Chunk(0, len(text), text), 1.0)
    server.will(Say("Ten sick days [1].", usage=(2_000, 100)))
    part = Part(kind="openai", model=model, base_url=server.base_url)
    return LanguageModel(part, seconds=20.0).generate("How many sick days?", [hit]).usage


def test_an_answer_costs_what_the_price_file_says(own: Callable[[str], Path]) -> None:
    own(OWN)
    with ModelServer("openai") as server:
        assert ask(server, "in-house-7b").cost == pytest.approx((2_000 * 0.01 + 100 * 0.03) / 1e6)


def test_on_this_machine_a_model_without_a_price_costs_nothing(own: Callable[[str], Path]) -> None:
    own(OWN)
    with ModelServer("openai") as server:
        assert ask(server, "llama").cost == 0.0
        assert ask(server, "gpt-5").cost == 0.0, "a list price does not hold here"


def test_a_wrong_price_file_is_told_before_anything_is_asked(own: Callable[[str], Path]) -> None:
    own("[model")
    with ModelServer("openai") as server:
        with pytest.raises(PriceError):
            ask(server, "in-house-7b")
        assert server.requests == []


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_line_prints_every_price_with_its_day(openbook: Run, own: Callable[[str], Path]) -> None:
    path = own(OWN)
    env = {"OPENBOOK_PRICES": str(path)}
    said = json.loads(openbook("prices", "--json", env=env).stdout)
    assert said["files"] == [str(PACKAGED), str(path)]
    assert said["models"]["in-house-7b"] == {
        "input": 0.01, "output": 0.03, "per": "million tokens", "at": None,
        "as_of": "2026-10-01", "source": "our accountant", "file": str(path),
    }  # fmt: skip
    assert said["rates"]["gpu_hour"]["low"] == said["rates"]["gpu_hour"]["high"] == 1.9
    done = openbook("prices", env=env)
    assert done.returncode == 0
    for name, entry in {**said["models"], **said["rates"]}.items():
        [line] = [line for line in done.stdout.splitlines() if line.startswith(f"{name} ")]
        assert entry["as_of"] in line
    assert str(path) in done.stdout
    assert len(done.stderr.splitlines()) == len(said["notes"])


def test_a_wrong_file_fails_the_command_in_one_line(openbook: Run, own: Callable[[str], Path]) -> None:
    path = own("[model.a]\ninput = 1")
    done = openbook("prices", env={"OPENBOOK_PRICES": str(path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"openbook: {path}: model.a.as_of: Field required; mend it\n"
