"""What a key can hold beside bytes: hashes, lists, sets and sorted sets, made of parts that are copied on write."""

__all__: list[str] = []
