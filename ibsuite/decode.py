"""``python -m ibsuite.decode RUN``: play the receiver, who has inputs and a message and finds the labels.

Only what a call needs is imported, so that ``--help`` and a mistyped path answer at once.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ibsuite import record

if TYPE_CHECKING:
    from torch import Tensor

    from ibsuite.coding import Manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Decode, check and write the labels; exit code 2 with one sentence where that cannot be honoured."""
    options = _parser().parse_args(arguments)
    if not (options.run / record.MESSAGE).is_dir():
        return _refused(f"{options.run} has no message/: give the folder of a run whose code writes one")
    try:
        return _decode(options)
    except KeyboardInterrupt:
        print("ibsuite.decode: interrupted; the same command goes on", file=sys.stderr)
        return 130


def _decode(options: argparse.Namespace) -> int:
    """Read, decode, write and say so; the exit code."""
    from ibsuite.callbacks import NotFinite
    from ibsuite.cli import is_rank_zero, quiet
    from ibsuite.interface import Refusal

    quiet()
    began = time.monotonic()
    try:
        manifest = read_manifest(options.run)
        labels = _decoded(options, manifest)
        if not is_rank_zero():
            return 0
        path = _written(labels, options.out or options.run / record.DECODED)
    except (Refusal, NotFinite, ValueError, OSError) as error:
        return _refused(str(error))
    seconds = time.monotonic() - began
    print(f"{len(labels)} labels of {manifest.data['name']} in {seconds:.1f} s, all digests right: {path}")
    return 0


def _refused(sentence: str) -> int:
    print(f"ibsuite.decode: {sentence}", file=sys.stderr)
    return 2


def read_manifest(run: Path) -> "Manifest":
    """The manifest of a run's message, once it and the streams are known to be whole.

    Raises:
        Refusal: a file is missing, or a stream is not the one that the manifest names.
        ValueError: the manifest is altered, or cannot be read by this version.
    """
    from ibsuite.coding import Manifest
    from ibsuite.interface import Refusal

    path = run / record.MANIFEST
    if not path.is_file():
        raise Refusal(f"{path} is missing; without it nobody can say what the streams mean")
    manifest = Manifest.from_bytes(path.read_bytes())
    if Path(record.LABEL_STREAM).name not in manifest.streams:
        raise Refusal("the manifest names no labels; get the message from the sender again")
    if wrong := manifest.check_streams(run / record.MESSAGE):
        raise Refusal(f"{wrong}; get the message from the sender again")
    return manifest


def _decoded(options: argparse.Namespace, manifest: "Manifest") -> "Tensor":
    """The labels, found from inputs and message; nothing that is called here is given any."""
    from ibsuite.callbacks.label_message import differences
    from ibsuite.callbacks.offline import OfflineCode
    from ibsuite.callbacks.receiving import receive_two_part
    from ibsuite.data import inputs_only
    from ibsuite.interface import Refusal
    from ibsuite.restore import receiving_run

    known, out = manifest.data, options.out or options.run / record.DECODED
    with inputs_only(known["num_classes"]), tempfile.TemporaryDirectory() as folder:
        cli = receiving_run(manifest, Path(folder), out, options.progress)
        found = differences(manifest, cli.trainer.strategy.root_device)
        if found and not options.anyway:
            raise Refusal(f"the message was made elsewhere: {'; '.join(found)}; --anyway lets digests tell")
        data: Any = cli.datamodule
        data.prepare_data()
        data.setup("fit")
        if (data.num_labels, data.order_sha256) != (known["num_labels"], known["inputs_sha256"]):
            raise Refusal(
                f"these are not the inputs of the message, {known['num_labels']} of {known['name']} in its "
                "order; point $IBSUITE_DATA to those that it was made with"
            )
        if isinstance(cli.code, OfflineCode):
            if Path(record.WEIGHTS).name not in manifest.streams:
                raise Refusal("the manifest names no weights; get the message from the sender again")
            return receive_two_part(cli.code, cli.model, data, manifest, options.run)
        from ibsuite.callbacks.block_message import ReceivedBlocks

        cli.code.receiver = ReceivedBlocks(manifest, (options.run / record.LABEL_STREAM).read_bytes())
        checkpoint = cli.prepare_run_folder()
        try:
            cli.trainer.fit(cli.model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:  # what the trainer makes of Ctrl-C
            raise KeyboardInterrupt from None
        if not cli.code.finished:
            raise KeyboardInterrupt
        labels: Tensor = data.labels
        return labels


def _written(labels: "Tensor", folder: Path) -> Path:
    """The labels in coding order, int64, as ``labels.npy``."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "labels.npy"
    np.save(path, labels.numpy())
    return path


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without all options before it."""
        self.exit(2, f"ibsuite.decode: {message}; --help lists all options\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m ibsuite.decode",
        description="Find the labels of a run from its message/ and the inputs alone.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a run, of which message/ alone is read")
    add("--out", type=Path, metavar="DIR", help="where labels.npy goes; default: decoded/ in the run folder")
    add("--anyway", action="store_true", help="try it on a machine, or with versions, of another kind")
    add("--no_progress", dest="progress", action="store_false", help="no progress bar")
    return parser


if __name__ == "__main__":
    sys.exit(main())
