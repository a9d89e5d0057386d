"""What things cost: a dated file that comes with openbook, and the user's own on top of it.

The packaged ``prices.toml`` holds list prices with the day on which they were so. ``$OPENBOOK_PRICES``, or else
``~/.config/openbook/prices.toml``, replaces entries of the same name and adds others. All money is US dollars. A price
that nobody has told is ``None``, never 0.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from openbook.errors import PriceError
from openbook.types import Usage

OLD_DAYS = 180
"""Older prices are noted: providers change theirs about twice a year."""

PACKAGED = Path(__file__).with_name("prices.toml")

_SNAPSHOT = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
"""Providers name a model's dated snapshots so; they cost what the model costs."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens that ``model`` reads and writes (an embedding model writes none).

    ``at``: the only host at which this holds, ``None``: wherever a model of that name answers. ``file`` says it.
    """

    model: str
    input: float
    output: float
    as_of: date
    source: str
    file: str
    at: str | None = None

    def cost(self, input_tokens: int, output_tokens: int = 0) -> float:
        """US dollars of so many tokens."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Rate:
    """What is not paid by the token: ``low`` to ``high`` US dollars per ``unit``."""

    name: str
    low: float
    high: float
    unit: str
    as_of: date
    source: str
    file: str


@dataclass(frozen=True, slots=True)
class Prices:
    """Every known price, and the ``files`` that it was read from: the packaged one, then the user's if there is one."""

    models: Mapping[str, Price]
    rates: Mapping[str, Rate]
    files: tuple[str, ...]

    def of(self, model: str, host: str | None = None) -> Price | None:
        """The price of a model; ``host`` is where it answers, ``None``: at its provider's own address.

        An entry named ``HOST/MODEL`` goes before one of the model alone, and a snapshot (``-2026-03-21``,
        ``-20260321``, ``-latest``) without an entry of its own costs what its model costs.
        """
        names = list(dict.fromkeys([model, _SNAPSHOT.sub("", model)]))
        for key in [*(f"{host}/{name}" for name in names if host), *names]:
            price = self.models.get(key)
            if price is not None and (host is None or price.at in (None, host)):
                return price
        return None

    def notes(self, today: date | None = None) -> tuple[str, ...]:
        """One line for each day whose prices are older than ``OLD_DAYS``."""
        today = today or date.today()
        old: dict[date, list[str]] = {}
        entries: list[Price | Rate] = [*self.models.values(), *self.rates.values()]
        for entry in entries:
            if (today - entry.as_of).days > OLD_DAYS:
                old.setdefault(entry.as_of, []).append(entry.model if isinstance(entry, Price) else entry.name)
        return tuple(_old(names, as_of, today) for as_of, names in sorted(old.items()))

    def as_json(self, today: date | None = None) -> dict[str, Any]:
        """As ``openbook prices --json`` prints it."""
        return {
            "currency": "USD",
            "files": list(self.files),
            "models": {
                name: {"input": p.input, "output": p.output, "per": "million tokens", "at": p.at, **_origin(p)}
                for name, p in self.models.items()
            },
            "rates": {
                name: {"low": r.low, "high": r.high, "per": r.unit, **_origin(r)} for name, r in self.rates.items()
            },
            "notes": list(self.notes(today)),
        }


def prices() -> Prices:
    """Every known price, the user's own before the packaged one; read anew each time (1 ms), so that an edit counts.

    Raises:
        PriceError: a file cannot be read, or an entry of it makes no sense; names the file and the key.
    """
    own = own_file()
    models: dict[str, Price] = {}
    rates: dict[str, Rate] = {}
    files = [PACKAGED] if own is None else [PACKAGED, own]
    for file in files:
        _read(file, models, rates)
    return Prices(models, rates, tuple(map(str, files)))


def own_file() -> Path | None:
    """The user's own price file: the one that ``$OPENBOOK_PRICES`` names, else the usual one where it exists."""
    if named := os.environ.get("OPENBOOK_PRICES"):
        return Path(named).expanduser()
    usual = usual_file()
    return usual if usual.is_file() else None


def usual_file() -> Path:
    """Where a user's own prices are looked for."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "openbook" / "prices.toml"


def price_of(model: str, host: str | None = None) -> Price | None:
    """What a model costs; ``None`` where nobody has told. As ``Prices.of``. Raises: PriceError."""
    return prices().of(model, host)


def cost(usage: Usage, model: str, host: str | None = None) -> float | None:
    """US dollars of an answer's tokens; ``None``: price unknown. Raises: PriceError.

    >>> cost(Usage(input_tokens=1_000_000), "a model nobody has heard of") is None
    True
    """
    price = price_of(model, host)
    return None if price is None else price.cost(usage.input_tokens, usage.output_tokens)


# --- reading ----------------------------------------------------------------------------------------------------------

_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    source: str = "own price file"


class _Model(_Entry):
    input: _Dollars
    output: _Dollars = 0.0
    at: str | None = None


class _Rate(_Entry):
    price: tuple[_Dollars, _Dollars]
    unit: str = ""

    @field_validator("price", mode="before")
    @classmethod
    def _low_and_high(cls, price: object) -> object:
        both = price if isinstance(price, list) else [price, price]
        numbers = [number for number in both if isinstance(number, int | float) and not isinstance(number, bool)]
        if len(both) != 2 or len(numbers) != 2 or numbers[0] > numbers[1]:
            raise ValueError("write a number of dollars, or two as [low, high]")
        return numbers


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: dict[str, _Model] = {}
    rate: dict[str, _Rate] = {}


def _read(path: Path, models: dict[str, Price], rates: dict[str, Rate]) -> None:
    """Put a file's entries over those that are known."""
    file = str(path)
    try:
        read = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PriceError(
            f"cannot be read ({error.strerror})", where=file, do="check the path, or unset OPENBOOK_PRICES"
        ) from None
    except UnicodeDecodeError:
        raise PriceError("is not UTF-8 text", where=file, do="save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise PriceError(f"not TOML: {error}", where=file, do="mend that line") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        known = "the tables are model and rate; openbook prices shows their entries"
        do = f"remove it ({known})" if first["type"] == "extra_forbidden" else "mend it"
        raise PriceError(f"{key}: {said}", where=file, do=do) from None
    for name, m in read.model.items():
        models[name] = Price(name, m.input, m.output, m.as_of, m.source, file, m.at)
    for name, r in read.rate.items():
        unit = r.unit or (rates[name].unit if name in rates else "")
        if not unit:
            raise PriceError(f"rate.{name}.unit: not said", where=file, do="say what the price buys, such as 'hour'")
        rates[name] = Rate(name, *r.price, unit, r.as_of, r.source, file)


def _old(names: list[str], as_of: date, today: date) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{(today - as_of).days} days old ({as_of}): {', '.join(names[:3])}{more}; check what they cost now"


def _origin(entry: Price | Rate) -> dict[str, Any]:
    return {"as_of": entry.as_of.isoformat(), "source": entry.source, "file": entry.file}
