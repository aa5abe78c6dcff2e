"""``--help`` is complete, and needs nothing to be imported."""

import inspect
import subprocess
import sys

import pytest
import torch

from ibsuite import callbacks, data, methods, nn
from ibsuite.arguments import OWN_CLASSES
from ibsuite.fit import main
from ibsuite.manual import manual


@pytest.mark.parametrize(
    ("option", "cls"),
    [("--code", callbacks.PrequentialCode), ("--data", data.LabelledData), ("--model", methods.CrossEntropy)],
)
def test_every_argument_is_explained(option: str, cls: type) -> None:
    lines = manual().splitlines()
    for name in list(inspect.signature(cls.__init__).parameters)[1:]:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {option}.{name} "))
        assert lines[at + 1].startswith("      "), f"{option}.{name} is not explained"


def test_every_data_set_network_and_augmentation_is_listed() -> None:
    listed = {line.strip() for line in manual().splitlines()}
    modules = [thing for room in (data, nn) for thing in vars(room).values() if inspect.isclass(thing)]
    kinds = (data.LabelledData, data.Augmentation, torch.nn.Module)
    wanted = {c.__name__ for c in modules if issubclass(c, kinds) and c.__name__ in OWN_CLASSES}
    assert wanted - {"LabelledData", "Augmentation"} <= listed


def test_every_code_and_method_has_a_section_that_explains_its_arguments() -> None:
    sections = manual().split("\n\n")
    codes = [c for c in vars(callbacks).values() if inspect.isclass(c) and hasattr(c, "ahead")]
    found = [c for c in vars(methods).values() if inspect.isclass(c)]
    for option, cls in [*(("--code", c) for c in codes), *(("--model", c) for c in found)]:
        default = cls in (callbacks.PrequentialCode, methods.CrossEntropy)
        title = f"{option}:" if default else f"{option}={cls.__name__}:"
        (section,) = [s for s in sections if s.startswith(title)]
        lines = section.splitlines()
        for name in inspect.signature(cls).parameters:
            (at,) = [i for i, line in enumerate(lines) if line.startswith(f"  {option}.{name} ")]
            assert lines[at + 1].startswith("      "), f"{title} {name} is not explained"


def test_help_imports_no_torch() -> None:
    script = "import sys, ibsuite.fit; ibsuite.fit.main(['--help']); sys.exit('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "usage: python -m ibsuite.fit" in told
    assert max(map(len, told.splitlines())) <= 110


def test_the_parsers_own_help_is_there_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help_all"])
    assert "--trainer.gradient_clip_algorithm" in capsys.readouterr().out
