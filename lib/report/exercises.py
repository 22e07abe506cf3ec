"""Check cells of the exercises: say whether an answer is right, without giving it away, and never
stop the notebook."""

from __future__ import annotations

from typing import Any

import torch
from IPython.display import Markdown, display


def check(answer: Any, correct: Any, hint: str = "", tolerance: float = 1e-3) -> bool:
    """Show whether `answer` agrees with `correct` (numbers and tensors to `tolerance`); `...` means
    not answered yet."""
    if answer is ...:
        display(Markdown("*Not answered yet: replace the `...` in the cell above.*"))
        return False
    right = _agree(answer, correct, tolerance)
    display(Markdown("**Right.**" if right else f"**Not yet.** {hint}"))
    return right


def _agree(answer: Any, correct: Any, tolerance: float) -> bool:
    if isinstance(correct, torch.Tensor | float | int) and not isinstance(correct, bool):
        try:
            answer, correct = (torch.as_tensor(x, dtype=torch.float64) for x in (answer, correct))
        except (TypeError, ValueError):
            return False
        return answer.shape == correct.shape and bool(
            torch.allclose(answer, correct, atol=tolerance)
        )
    return bool(answer == correct)
