"""Reports made by hand, one of every kind: what a check, an audit, the cases, the doctor and the kinks may hold."""

import math

from jaxgrad.verify import (
    Audit,
    CaseReport,
    Cause,
    Divergence,
    DoctorReport,
    KinkReport,
    LayerError,
    Leaf,
    Report,
    Result,
    Row,
    Setting,
)

__all__ = ["DIFFERING", "EVIL", "agreeing", "differing", "of_audit", "of_cases", "reports"]

EVIL = "</script><script>document.title='broken'</script> & \x1b[31m\x00 \ud800 größer"
"""What a user's message may hold."""

META = {
    "torch": "Encoder",
    "jax": "Encoder",
    "spec": "spec.py",
    "date": "2026-01-02T03:04:05+00:00",
    "versions": {"torch": "2.6", "jax": "0.10.2"},
    "backend": "cpu",
    "parameters": 12345,
    "batch": [[2, 3]],
    "mode": "eval",
    "weights": "torch",
    "dtypes": ["float64", "float32"],
    "seconds": 1.5,
    "tolerance_f64": 1e-10,
}

FAILING = Leaf(
    "norm.weight", "norm/scale", 2e-3, 0.5, (1,), 1.25, 0.75, 1.1, 0.9, {"float32": 123.4}, size=4, mismatched=3
)
FINE = Leaf("fc.weight", "fc/kernel", 3e-16, size=6, noise_by={"float32": 1.5})
DIFFERING = [
    Result("value", [Leaf("output", "output", 1e-3, size=2), FINE], "differ"),
    Result("gradient", [FINE, FAILING], "differ", seconds=0.5),
    Result("hvp", [FINE], "agree"),
    Result("step", [], "failed", f"torch fails: {EVIL}"),
]


def agreeing():
    return Report([Result("value", [FINE], "agree")], [], None, [], META)


def differing():
    first = Divergence("norm", "forward", "output", "norm", 2e-3)
    causes = [Cause("epsilon", "JAX's epsilon is 1e-6.", "Set epsilon=1e-05.", "norm", True), Cause("x", EVIL, "")]
    layers = [LayerError("norm", "norm", "LayerNorm", 0, 2e-3, 2e-3, 0.0, math.inf, 0.0, 0.0, 1e-7)]
    meta = {**META, "remarks": ["no step was compared"]}
    return Report(DIFFERING, layers, first, causes, meta, [first, Divergence("act", "forward", "input", "act", 1e-5)])


def of_audit():
    settings = [
        Setting("fc", "fc", "initial weights", "std 0.2", "std 0.4", "2 times larger in JAX", True),
        Setting("norm", "norm", "epsilon", "1e-05", "1e-06", "about 4.5e-06"),
        Setting("norm2", "norm2", "epsilon", "1e-05", "1e-06", "about 4.5e-06"),
    ]
    entry = {"jax": "fc/kernel", "torch": ["fc.weight"], "rule": "transpose", "ambiguous": "square", "proof": ""}
    return Audit([entry], ["head.weight"], [], [], settings, ["tied in torch"], 0.5, META)


def of_cases():
    rows = (
        Row("T1", "right", "all of it", "agree", 0.0, 1.25, "a/very/deep/decoder/block_11/attention/query/kernel"),
        Row("T2", "wrong", EVIL, "differ", 1e-2, 2e9, "weight", reason=f"weight: {EVIL}", first_call_s=2.0),
        Row("T3", "criterion", "PSNR", "agree", measured="31.4 dB"),
    )
    return CaseReport(rows, 3.2, "cpu", "2026-01-02T03:04:05+00:00")


class Kink:
    """What `kinks` returns for one function."""

    def __init__(self):
        self.function, self.point, self.torch_first, self.jax_first = "relu", 0.0, 0.0, 0.5
        self.torch_second, self.jax_second = math.nan, "raises"

    same_first = same_second = False


def reports():
    facts = {"versions": {"jax": "1", "flax": None}, "jax": {"backend": "cpu"}, "torch": None, "notes": ["x64 is off"]}
    return {
        "agreeing": agreeing(),
        "differing": differing(),
        "audit": of_audit(),
        "cases": of_cases(),
        "doctor": DoctorReport(facts),
        "kinks": KinkReport([Kink()]),
    }
