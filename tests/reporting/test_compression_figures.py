"""Figures of compressed networks, from run folders."""

import pytest
from compressed_runs import WHOLE_MNIST, small_network

from ibsuite.interface import Refusal
from ibsuite.report import main
from ibsuite.reporting import draw_run, draw_tradeoff, load_run, show_result
from ibsuite.reporting.compressed import tradeoff_printed, tradeoff_settings


def test_a_compressed_run_has_two_figures(make_compressed):
    run = make_compressed()
    assert draw_run(run) == [run / "figures/network_compression.png", run / "figures/compression.png"]
    for path in draw_run(run):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_both_figures_and_what_is_left_go_to_the_loggers(make_compressed, capsys):
    class Logger:
        def log_result(self, summary, parts, figures):
            self.summary, self.figures = summary, figures

    run, logger = make_compressed(), Logger()
    show_result(run, [logger])
    assert [path.stem for path in logger.figures] == ["network_compression", "compression"]
    assert logger.summary["compression/macs"] == 9_560
    assert logger.summary["compression/test_error_percent"] == 1.5
    assert logger.summary["code/total_bits"] == 12.0
    assert "what is left of 784-300-100" in capsys.readouterr().out


def test_settings_of_an_experiment_belong_together_and_so_do_their_seeds(make_run, make_compressed):
    runs = [make_compressed(0, config="gamma: 1"), make_compressed(1, config="gamma: 1")]
    runs.append(make_compressed(0, config="gamma: 2", compression=small_network(2.0)))
    runs.append(make_compressed(0, "other"))
    found = tradeoff_settings([load_run(run) for run in (*runs, make_run())])
    assert {name: [len(seeds) for seeds in settings] for name, settings in found.items()} == {
        "vibnet": [2, 1],
        "other": [1],
    }
    point = found["vibnet"][1][0]
    assert (point.test_error_percent, point.validation_error_percent, point.macs) == (3.0, 3.5, 9_560)
    assert point.mi_upper_bits == 400.0  # of layers.2: layers.0 stands on the input


def test_the_posters_own_network_is_drawn_where_it_is_the_same_task(make_compressed):
    mnist = load_run(make_compressed(**WHOLE_MNIST))
    ((name, network),) = tradeoff_printed([mnist, mnist]).items()
    assert "poster, Table 1" in name
    assert (network.r_w_percent, network.macs, network.test_error_percent) == (3.59, 9_560, 1.6)
    assert not tradeoff_printed([load_run(make_compressed(0, "toy"))])


def test_the_tradeoff_is_drawn_by_the_report(make_run, make_compressed, tmp_path, capsys):
    run, plain, figure = make_compressed(), make_run(), tmp_path / "new" / "tradeoff.png"
    assert main([str(run), str(plain), "--tradeoff", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert main([str(run), "--tradeoff", str(tmp_path / "x.pdf")]) == 2
    assert "ends in .png" in capsys.readouterr().err


def test_without_a_compressed_network_there_is_no_tradeoff(make_run, tmp_path):
    with pytest.raises(Refusal, match=r"no run has a compression\.json"):
        draw_tradeoff([load_run(make_run())], tmp_path / "x.png")
