"""Every module of the verifier and of the models has a test file of its name, or the file that covers it is listed."""

import ast
from pathlib import Path

import pytest

from tests.contract.test_layers import ROOT, imports

# the text of the house is the same on every JAX
pytestmark = pytest.mark.either_lane

COVERED = {
    "models._assign": "tests/models/test_search.py",
    "models._convert": "tests/models/test_mapping_for.py",
    "models._facts": "tests/models/test_search.py",
    "models._groups": "tests/models/test_mapping_for.py",
    "models._layouts": "tests/models/test_mapping_for.py",
    "models._linen": "tests/models/test_from_linen.py",
    "models._link": "tests/models/test_mapping.py",
    "models._mapping": "tests/models/test_mapping.py",
    "models._mapping_for": "tests/models/test_mapping_for.py",
    "models._model": "tests/models/test_from_nnx.py",
    "models._nnx": "tests/models/test_from_nnx.py",
    "models._fields_linen": "tests/models/test_fields.py",
    "models._fields_nnx": "tests/models/test_fields.py",
    "models._grids_linen": "tests/models/test_fields.py",
    "models._grids_nnx": "tests/models/test_fields.py",
    "models._siren": "tests/models/test_field_laws.py",
    "models._units": "tests/models/test_mapping_for.py",
    "models._unpaired": "tests/models/test_search.py",
    "models.linen": "tests/models/test_zoo.py",
    "models.nnx": "tests/models/test_zoo.py",
    "verify._bridge": "tests/test_refs.py",
    "verify._environment": "tests/cli/test_output.py",
    "verify._files": "tests/verify/port/test_dump_files.py",
    "verify.cases._case": "tests/verify/test_run.py",
    "verify.cases._fault_injection": "tests/verify/test_run.py",
    "verify.cases._result": "tests/verify/test_run.py",
    "verify.cases._titles": "tests/verify/test_select.py",
    "verify.cases._trained": "tests/verify/test_digits.py",
    "verify.cases._worker": "tests/verify/test_side_by_side.py",
    "verify.cases.families._curvature": "tests/cli/test_verify.py",
    "verify.cases.families._curvature_matrix": "tests/cli/test_verify.py",
    "verify.cases.families._digits": "tests/verify/test_digits.py",
    "verify.cases.families._gradient": "tests/cli/test_verify.py",
    "verify.cases.families._gradient_second": "tests/cli/test_verify.py",
    "verify.cases.families._gradient_use": "tests/cli/test_verify.py",
    "verify.cases.families._inr": "tests/cli/test_verify.py",
    "verify.cases.families._meta": "tests/cli/test_verify.py",
    "verify.cases.families._multi_loss": "tests/cli/test_verify.py",
    "verify.cases.families._networks": "tests/cli/test_verify.py",
    "verify.cases.families._nth": "tests/cli/test_verify.py",
    "verify.cases.families._per_example": "tests/cli/test_verify.py",
    "verify.cases.families._shift": "tests/cli/test_verify.py",
    "verify.cases.families._shift_relatives": "tests/cli/test_verify.py",
    "verify.cases.families._shift_ready_made": "tests/cli/test_verify.py",
    "verify.cases.families._sinusoid": "tests/cli/test_verify.py",
    "verify.cases.families._siren": "tests/cli/test_verify.py",
    "verify.judge._axes": "tests/verify/test_arrays.py",
    "verify.judge._tolerances": "tests/contract/test_tolerances.py",
    "verify.judge._verdict": "tests/verify/test_judge.py",
    "verify.port._about": "tests/verify/port/test_check.py",
    "verify.port._assert": "tests/verify/port/test_fixture.py",
    "verify.port._audit": "tests/verify/port/test_audit.py",
    "verify.port._bind": "tests/verify/port/test_pair.py",
    "verify.port._check": "tests/verify/port/test_check.py",
    "verify.port.frameworks._drops": "tests/verify/port/test_compare_rates.py",
    "verify.port.frameworks._training_mode": "tests/verify/port/test_compare_rates.py",
    "verify.port._compare_settings": "tests/verify/port/test_audit.py",
    "verify.port._judge_mapping": "tests/verify/port/test_divergences.py",
    "verify.port._pair": "tests/verify/port/test_pair.py",
    "verify.port._prove_mapping": "tests/verify/port/test_mapping.py",
    "verify.port._record_layers": "tests/verify/port/test_divergences.py",
    "verify.port._spec_file": "tests/verify/port/test_runs.py",
    "verify.port.diagnosis._attend": "tests/verify/test_field.py",
    "verify.port.diagnosis._attention_parts": "tests/verify/test_field.py",
    "verify.port.diagnosis._attention": "tests/verify/port/test_diagnosis_catalogue.py",
    "verify.port.diagnosis._backward": "tests/verify/test_mutations.py",
    "verify.port.diagnosis._catalogue": "tests/verify/port/test_diagnosis_catalogue.py",
    "verify.port.diagnosis._convolution": "tests/verify/port/test_diagnosis_catalogue.py",
    "verify.port.diagnosis._diagnose": "tests/verify/test_mutations.py",
    "verify.port.diagnosis._evidence": "tests/verify/test_mutations.py",
    "verify.port.diagnosis._gates": "tests/verify/test_mutations.py",
    "verify.port.diagnosis._images": "tests/verify/test_mutations.py",
    "verify.port.diagnosis._interventions": "tests/verify/port/test_ranking.py",
    "verify.port.diagnosis._known_functions": "tests/verify/test_judge.py",
    "verify.port.diagnosis._layers": "tests/verify/test_mutations.py",
    "verify.port.diagnosis._loss": "tests/verify/test_mutations.py",
    "verify.port.diagnosis._matcher": "tests/verify/port/test_diagnosis_catalogue.py",
    "verify.port.diagnosis._normalization": "tests/verify/port/test_diagnosis_catalogue.py",
    "verify.port.diagnosis._sums": "tests/verify/test_mutations.py",
    "verify.port.diagnosis._tables": "tests/verify/test_field.py",
    "verify.port.diagnosis._training_step": "tests/verify/test_mutations.py",
    "verify.port.dumps._dump": "tests/verify/port/test_runs.py",
    "verify.port.dumps._files": "tests/verify/port/test_dump_files.py",
    "verify.port.dumps._runs": "tests/verify/port/test_runs.py",
    "verify.port.dumps._stored": "tests/verify/port/test_dump_files.py",
    "verify.port.frameworks._batch": "tests/verify/port/test_inputs.py",
    "verify.port.frameworks._comparisons": "tests/verify/port/test_alarms.py",
    "verify.port.frameworks._compile": "tests/verify/port/test_alarms.py",
    "verify.port.frameworks._first_run": "tests/verify/port/test_first_run.py",
    "verify.port.frameworks._function": "tests/verify/port/test_check.py",
    "verify.port.frameworks._jax_model": "tests/verify/port/test_bad_inputs.py",
    "verify.port.frameworks._layer_settings": "tests/verify/port/test_audit.py",
    "verify.port.frameworks._lift_jax": "tests/verify/port/test_islands.py",
    "verify.port.frameworks._lift_torch": "tests/verify/port/test_islands.py",
    "verify.port.frameworks._linen": "tests/verify/port/test_bad_inputs.py",
    "verify.port.frameworks._loss_names": "tests/verify/port/test_bad_inputs.py",
    "verify.port.frameworks._losses": "tests/verify/port/test_bad_inputs.py",
    "verify.port.frameworks._nnx": "tests/verify/port/test_bad_inputs.py",
    "verify.port.frameworks._outputs": "tests/verify/port/test_alarms.py",
    "verify.port.frameworks._parts": "tests/verify/port/test_inputs.py",
    "verify.port.frameworks._protocols": "tests/verify/port/test_bad_inputs.py",
    "verify.port.frameworks._torch_module": "tests/verify/port/test_first_run.py",
    "verify.port.frameworks._validate": "tests/verify/port/test_bad_inputs.py",
    "verify.port.mapping._convert": "tests/verify/port/test_mapping.py",
    "verify.port.mapping._flatten_order": "tests/verify/port/test_pair.py",
    "verify.port.mapping._islands": "tests/verify/port/test_islands.py",
    "verify.port.mapping._model_pair": "tests/verify/port/test_pair.py",
    "verify.port.mapping._search": "tests/verify/port/test_mapping.py",
    "verify.port.quantities._directions": "tests/verify/port/test_check.py",
    "verify.port.quantities._measure": "tests/verify/test_judge.py",
    "verify.port.quantities._torch": "tests/verify/port/test_check.py",
    "verify.port.quantities._training_steps": "tests/verify/port/test_check.py",
    "verify.port.tracing._first_divergence": "tests/verify/port/test_ranking.py",
    "verify.port.tracing._match_calls": "tests/verify/port/test_ranking.py",
    "verify.port.tracing._record_jax": "tests/verify/port/test_ranking.py",
    "verify.port.tracing._record_torch": "tests/verify/port/test_ranking.py",
    "verify.pytest_plugin": "tests/verify/port/test_fixture.py",
    "verify.report._audit": "tests/verify/report/test_text.py",
    "verify.report._document": "tests/verify/report/test_text.py",
    "verify.report._forms": "tests/verify/report/test_text.py",
    "verify.report._html": "tests/verify/report/test_html.py",
    "verify.report._junit": "tests/verify/report/test_junit.py",
    "verify.report._probes": "tests/verify/report/test_text.py",
    "verify.report._records": "tests/verify/report/test_text.py",
    "verify.report._text": "tests/verify/report/test_text.py",
}
"""By module: the file whose tests run it, through the public names or beside another module."""


def modules() -> list[str]:
    """Return the modules, from ``jaxgrad`` on, without the packages' doors."""
    files = [file for room in ("verify", "models") for file in (ROOT / "jaxgrad" / room).rglob("*.py")]
    return sorted(".".join(f.relative_to(ROOT / "jaxgrad").with_suffix("").parts) for f in files if f.stem[:2] != "__")


def own_files(module: str) -> list[Path]:
    """Return the test files of a module's name that import it."""
    room, name = module.split(".")[0], f"test_{module.rpartition('.')[2].removeprefix('_')}.py"
    full = f"jaxgrad.{module}"
    return [
        file
        for file in (ROOT / "tests" / room).rglob(name)
        if any(f"{found}.".startswith(f"{full}.") for found in imports(ast.parse(file.read_text())))
    ]


@pytest.mark.parametrize("module", modules())
def test_a_module_has_a_test_file(module):
    if module in COVERED:
        assert (ROOT / COVERED[module]).exists(), f"{COVERED[module]}, which covers {module}, is gone"
        assert not own_files(module), f"{module} has a test file of its own: take it out of COVERED"
    else:
        assert own_files(module), f"no file called like {module} imports it: write one, or say in COVERED which runs it"


def test_nothing_is_listed_that_is_gone():
    assert COVERED.keys() <= set(modules())
