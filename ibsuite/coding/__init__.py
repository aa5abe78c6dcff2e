"""Real messages: trained tensors as bytes that somebody else can read back."""

__all__: list[str] = []
