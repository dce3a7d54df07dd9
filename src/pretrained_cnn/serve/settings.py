"""The limits and permissions of a service: `Settings`."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Settings"]

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a service accepts from its clients, which may be unknown."""

    max_body: int = 32 * MIB
    """Bytes at most of the body of one request. What is larger is answered with 413, and not kept."""
    max_images: int = 32
    """Images at most in one request to ``/predict/batch``."""
    max_waiting: int = 128
    """Images at most that are decoded or wait for the network. What comes beyond is answered with 503."""
    batch_size: int = 16
    """Images at most that pass through the network together."""
    timeout: float = 30.0
    """Seconds at most until a request has arrived, and as many again until it is answered."""
    allow_urls: bool = False
    """Whether a request may name the http(s) address of an image. Addresses that are not public are never opened."""
    api_key: str | None = field(default=None, repr=False)
    """The key that requests must send as ``Authorization: Bearer``; None without one."""

    @property
    def max_held(self) -> int:
        """Bytes at most of all bodies together that are held in memory."""
        return 8 * self.max_body
