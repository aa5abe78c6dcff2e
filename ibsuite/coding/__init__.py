"""Real messages: trained tensors as bytes that somebody else can read back."""

from ibsuite.coding.weights import WeightStream, decode_weights, encode_weights, stream_length, weight_bits

__all__ = ["WeightStream", "decode_weights", "encode_weights", "stream_length", "weight_bits"]
