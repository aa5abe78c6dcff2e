"""The variational code: an expectation over draws, and its standard error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from offline_runs import code_of, document, method_of

from ibsuite.data import Digits
from ibsuite.interface import Refusal
from ibsuite.methods import Variational
from ibsuite.nn import MLP, FixedGaussian, ScaleMixture


def variational(prior: Any) -> Variational:
    return Variational(MLP((1, 8, 8), 10, (8,)), prior, optimizer=lambda p: torch.optim.Adam(p, lr=0.02))


def test_more_draws_are_the_same_length_more_exactly(fit: Callable[..., Any], tmp_path: Path) -> None:
    for draws in (4, 64):
        fit(code=code_of("variational", draws=draws), method=method_of("variational"), folder=str(draws))
    few, many = (document(tmp_path / str(draws)) for draws in (4, 64))
    assert few["charges"]["kl"] == many["charges"]["kl"]
    error = few["standard_error_bits"]
    assert 0 < many["standard_error_bits"] < error
    assert abs(few["total_bits"] - many["total_bits"]) < 5 * error
    stored = [np.load(tmp_path / str(draws) / "labels.npz")["log2_probs"] for draws in (4, 64)]
    np.testing.assert_array_equal(stored[0], stored[1][:4])  # draws are numbered


def test_a_prior_with_settings_is_charged_and_a_fixed_one_is_not(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    fit(code=code_of("variational"), method=method_of("variational"), folder="learned")
    fit(code=code_of("variational"), method=variational(FixedGaussian(0.2)), folder="fixed")
    assert document(tmp_path / "learned")["charges"]["prior"] == 8 * 4
    assert document(tmp_path / "fixed")["charges"]["prior"] == 0


def test_the_error_of_a_sampled_kl_is_inside_the_standard_error(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    code = fit(code=code_of("variational", draws=3), method=variational(ScaleMixture()))
    found = document(tmp_path / "run")
    labels = -np.load(tmp_path / "run" / "labels.npz")["log2_probs"].astype(float).sum(1)
    alone = labels.std(ddof=1) / 3**0.5
    assert found["standard_error_bits"] > alone
    method = code.sequence.trainer.lightning_module
    errors = [method.divergence(64, seed).standard_error_bits for seed in range(4)]
    kl_error = (found["standard_error_bits"] ** 2 - alone**2) ** 0.5
    assert kl_error == pytest.approx(np.mean(errors), rel=0.5)


def test_labels_are_below_uniform(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Everything charged, 400 digits, seed 0."""
    data, steps = Digits(num_labels=400, batch_size=32), {"min_steps": 400, "max_steps": 400}
    fit(data, code_of("variational", **steps), method_of("variational"))
    found = document(tmp_path / "run")
    assert found["total_bits"] < 0.8 * found["uniform_bits"]


def test_one_draw_has_no_standard_error() -> None:
    with pytest.raises(Refusal, match=r"code\.draws must be at least 2, for a standard error; got 1"):
        code_of("variational", draws=1)
