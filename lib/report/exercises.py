"""Check cells of the exercises: say whether an answer is right, and else what kind of error it
holds; they give nothing away, and never stop the notebook."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from IPython.display import Markdown, display

Turn = Callable[[torch.Tensor], torch.Tensor]
# What an answer often is instead, and how it becomes the right one. `book/_static/book.js` knows
# those that a single number can be.
TURNS: tuple[tuple[str, Turn], ...] = (
    ("The sign is the other way round.", torch.neg),
    ("The size is per cent where a share is asked for.", lambda x: x / 100),
    ("The size is a share where per cent are asked for.", lambda x: x * 100),
    ("It is what is left: one less the right answer.", lambda x: 1 - x),
    ("It is upside down: one over the right answer.", lambda x: 1 / x),
    ("The unit is another: bits where nats are asked for.", lambda x: x * math.log(2)),
    ("Rows and columns have changed places.", lambda x: x.mT if x.ndim > 1 else x),
    ("It is one place off.", lambda x: x.roll(1, -1)),
    ("It is one place off.", lambda x: x.roll(-1, -1)),
)


@dataclass(frozen=True)
class Sealed:
    """A right answer that the eye does not read: for each number eight letters, which its place on
    a grid of steps of `tolerance` gives. `shape` is None for a word. Who computes can open it."""

    shape: tuple[int, ...] | None
    tolerance: float
    digests: str

    def fits(self, values: torch.Tensor) -> torch.Tensor:
        """Which of as many numbers are right, to the tolerance and at most half of it more."""
        each = zip(values.flatten().tolist(), _eights(self.digests), strict=True)
        return torch.tensor([_near(i, x, self.tolerance, d) for i, (x, d) in enumerate(each)])


def sealed(correct: Any, tolerance: float = 1e-3) -> Sealed:
    """Seal a word, a number, or numbers in any shape."""
    if isinstance(correct, str):
        return Sealed(None, tolerance, _digest(correct.strip().casefold()))
    numbers = torch.as_tensor(correct, dtype=torch.float64)
    steps = [_step(x, tolerance) for x in numbers.flatten().tolist()]
    digests = "".join(_digest(f"{i}:{tolerance:g}:{step}") for i, step in enumerate(steps))
    return Sealed(tuple(numbers.shape), tolerance, digests)


def check(answer: Any, correct: Any, tolerance: float = 1e-3) -> bool:
    """Show whether `answer` agrees with `correct`, which may be sealed; `...` means not answered
    yet. The site makes a field for answers of what goes with the output."""
    right = correct if isinstance(correct, Sealed) else sealed(correct, tolerance)
    wrong = "" if answer is ... else error(answer, right)
    said = f"**Not yet.** {wrong}" if wrong else "**Right.**"
    if answer is ...:
        said = "*Not answered yet: replace the `...` in the cell above.*"
    display(Markdown(said), metadata={"exercise": asdict(right)})
    return answer is not ... and not wrong


def error(answer: Any, right: Sealed) -> str:
    """The kind of error in an answer, in a sentence or two; nothing if it is right."""
    if right.shape is None:
        same = isinstance(answer, str) and _digest(answer.strip().casefold()) == right.digests
        return "" if same else "It is another word."
    try:
        values = torch.as_tensor(answer, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return "Numbers are asked for, and this cannot be read as numbers."
    if values.shape != right.shape:
        return f"The shape is {_shape(values.shape)}; {_shape(right.shape)} is asked for."
    if bool(right.fits(values).all()):
        return ""
    whole = bool(values.isfinite().all())
    return _kind(values, right) if whole else "Some of it is no number (NaN) or not finite."


def _kind(values: torch.Tensor, right: Sealed) -> str:
    for said, turn in TURNS if values.ndim else TURNS[:6]:
        turned = turn(values)
        if turned.shape == values.shape and bool(right.fits(turned).all()):
            return said
    count = int(right.fits(values).sum())
    return f"{count} of {values.numel()} numbers are right." if values.ndim else "Another number."


def _shape(shape: tuple[int, ...]) -> str:
    return str(list(shape)) if shape else "a single number"


def _near(place: int, value: float, tolerance: float, digest: str) -> bool:
    step = _step(value, tolerance)
    nearby = [step - 1, step, step + 1] if isinstance(step, int) else [step]
    return any(_digest(f"{place}:{tolerance:g}:{one}") == digest for one in nearby)


def _step(value: float, tolerance: float) -> int | str:
    """The nearest step of the grid; NaN is right where a short run could not measure."""
    return math.floor(value / tolerance + 0.5) if math.isfinite(value) else str(value)


def _digest(text: str) -> str:
    """FNV-1a of 32 bits, in hexadecimal: three lines in any language, the page's among them."""
    found = 2166136261
    for byte in text.encode():
        found = (found ^ byte) * 16777619 % 2**32
    return f"{found:08x}"


def _eights(text: str) -> list[str]:
    return [text[i : i + 8] for i in range(0, len(text), 8)]
