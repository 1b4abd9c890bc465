"""`multi_loss.draw_conflicts`: what stands in the picture."""

import jax.numpy as jnp
import pytest

from jaxgrad.multi_loss import conflicts, draw_conflicts

FOUND = conflicts(jnp.array([[4.0, -1.9], [-1.9, 1.0]]))


def test_the_cosines_their_numbers_and_the_names():
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    image = draw_conflicts(FOUND, axes, names=["digit", "parity"])
    assert image.get_clim() == (-1, 1)
    assert [text.get_text() for text in axes.texts] == ["1.00", "-0.95", "-0.95", "1.00"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["digit (2)", "parity (1)"]
    assert "alignment -0.95" in axes.get_title()


def test_rejects_names_that_are_too_few():
    with pytest.raises(ValueError, match=r"one entry for each of 2 losses; got \['digit'\]"):
        draw_conflicts(FOUND, None, names=["digit"])
