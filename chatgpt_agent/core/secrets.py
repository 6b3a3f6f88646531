"""Secrets in texts that others wrote."""

MIN_HALF = 8  # characters: half of a shorter secret may be a part of anything


def shows_secret(text: str, secret: str) -> bool:
    """Returns whether a text contains a secret, or one of its halves."""
    text, secret = text.lower(), secret.lower()
    half = len(secret) // 2
    if half < MIN_HALF:
        return bool(secret) and secret in text
    return secret[:half] in text or secret[half:] in text
