"""Real messages: labels and trained tensors as bytes that somebody else can read back."""

from ibsuite.coding.labels import LabelReceiver, LabelSender, integer_probabilities
from ibsuite.coding.manifest import Manifest
from ibsuite.coding.weights import WeightStream, decode_weights, encode_weights, stream_length, weight_bits

__all__ = [
    "LabelReceiver",
    "LabelSender",
    "Manifest",
    "WeightStream",
    "decode_weights",
    "encode_weights",
    "integer_probabilities",
    "stream_length",
    "weight_bits",
]
