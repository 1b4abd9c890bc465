"""What was compared, of what is known of a run."""

from jaxgrad.verify.judge._tolerances import DEFINITION_F64
from jaxgrad.verify.report._words import LEGEND, compared


def test_only_what_is_known_is_told():
    assert compared({}) == []
    meta = {"torch": "Net", "parameters": 12345, "batch": [[2, 3], [2]], "mode": "eval", "weights": "own",
            "versions": {"jax": "1", "torch": None}, "backend": "cpu", "date": "2026-01-02T03:04:05"}  # fmt: skip
    assert dict(compared(meta)) == {
        "torch": "Net", "parameters": "12,345", "batch": "(2, 3), (2,)", "mode": "eval, own weights",
        "versions": "jax 1 on cpu", "date": "2026-01-02 03:04",
    }  # fmt: skip


def test_the_legend_says_what_is_allowed():
    assert f"{DEFINITION_F64:g}" in dict(LEGEND)["error f64"]
