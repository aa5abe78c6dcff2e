"""Errors under attack: means over seeds, and the errors at one epsilon over beta."""

from typing import Any

import pytest

from ibsuite.figures import robustness_figure

EPSILONS = [0.0, 0.1, 0.2]


def document(beta: float | None, shift: float = 0.0) -> dict[str, Any]:
    base = 10 * (beta or 0.0)
    errors = [base + shift, base + 20 + shift, base + 40 + shift]
    names = ("fgsm_linf", "pgd_linf", "fgsm_l2", "pgd_l2")
    return {"beta": beta, "attacks": {n: {"epsilon": EPSILONS, "error_percent": errors} for n in names}}


def test_lines_are_means_over_seeds_and_rows_say_it_both_ways() -> None:
    documents = [document(0.1), document(0.1, 2.0), document(0.0), document(1.0)]
    figure = robustness_figure({"one": documents})
    figure.canvas.draw()
    assert len(figure.axes) == 4
    lines = {line.get_label(): line for line in figure.axes[0].lines if not line.get_label().startswith("_")}
    assert list(lines) == ["β = 0", "β = 0.1", "β = 1"]
    assert list(lines["β = 0.1"].get_ydata()) == [2.0, 22.0, 42.0]
    assert list(lines["β = 0.1"].get_xdata()) == EPSILONS
    below = {line.get_label(): line for line in figure.axes[2].lines}
    assert list(below["ε = 0.1"].get_xdata()) == [0.0, 0.1, 1.0]
    assert list(below["ε = 0.1"].get_ydata()) == [20.0, 22.0, 30.0]


def test_a_network_without_beta_has_one_row_and_its_experiment_in_the_legend() -> None:
    figure = robustness_figure({"plain": [document(None)], "vib": [document(0.1)]})
    assert len(figure.axes) == 2
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["plain", "vib, β = 0.1"]


def test_seeds_that_were_attacked_differently_are_not_averaged() -> None:
    other = document(0.1)
    other["attacks"]["pgd_linf"] = {"epsilon": [0.0], "error_percent": [1.0]}
    with pytest.raises(ValueError, match="same epsilons"):
        robustness_figure({"one": [document(0.1), other]})
