"""Request ids: UUID version 7, so that they sort by time and are unique without asking anybody."""

from uuid import UUID


def uuid7(milliseconds: int, random: bytes) -> UUID:
    """A UUIDv7 (RFC 9562 §5.7) of Unix time in milliseconds and 10 random bytes."""
    noise = int.from_bytes(random[:10])
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64
    return UUID(int=value | 0b10 << 62 | noise & (1 << 62) - 1)
