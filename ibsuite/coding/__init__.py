"""Real messages: labels and trained tensors as bytes that somebody else can read back."""

from ibsuite.coding.labels import LabelReceiver, LabelSender, integer_probabilities
from ibsuite.coding.manifest import Manifest
from ibsuite.coding.relative_entropy import DrawStream, decode_draw, encode_draw
from ibsuite.coding.weights import WeightStream, decode_weights, encode_weights, stream_length, weight_bits

__all__ = [
    "DrawStream",
    "LabelReceiver",
    "LabelSender",
    "Manifest",
    "WeightStream",
    "decode_draw",
    "decode_weights",
    "encode_draw",
    "encode_weights",
    "integer_probabilities",
    "stream_length",
    "weight_bits",
]
