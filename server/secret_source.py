"""Where secrets come from, one rule for all: an environment variable or a file, never the command line.

What everybody could know is refused at the start: a file that every user of the machine may read, a word that stands
in somebody's documentation, one character over and over.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_WORDS: Final = (b"changeme", b"change-me", b"change_me", b"your-256-bit-secret", b"replace-me", b"insecure")
"""Parts of secrets that examples are printed with; nobody draws one of them at random."""
_BYTES_DIFFERENT_MIN: Final = 8
"""48 random bytes in base64 have about 40 different ones; under eight it was typed with one finger."""
_OTHERS: Final = stat.S_IRWXO


def read_secret(secret_env: str, secret_file: str, environ: Mapping[str, str], folder: Path) -> tuple[str, bytes]:
    """The text of a secret, unjudged.

    Args:
        secret_env: Name of the variable that holds it; empty for a file.
        secret_file: Where it stands otherwise; relative paths start at ``folder``.
        environ: The process's environment.

    Returns:
        In words where it was found, and what stands there (empty when the variable is not set).

    Raises:
        ValueError: The file cannot be read; the text names the place.
    """
    if secret_env:
        return f"the environment variable {secret_env}", environ.get(secret_env, "").encode()
    path = folder / secret_file
    try:
        return f"the file {path}", path.read_bytes()
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror or error}") from None


def check_secret(secret: bytes) -> None:
    """Refuse a secret that others could know. Raises ``ValueError``, which never shows it."""
    plain = secret.lower()
    if any(word in plain for word in _WORDS):
        raise ValueError("is a secret out of an example: draw one (`openssl rand -base64 48`)")
    if len(set(secret)) < _BYTES_DIFFERENT_MIN:
        raise ValueError("is a secret that can be guessed: draw one (`openssl rand -base64 48`)")


def check_private(secret_file: str, folder: Path) -> None:
    """Refuse a file that every user of this machine may read or write; without a file there is nothing to check.

    A file that a group may read is left alone: that is how containers are given theirs.

    Raises:
        ValueError: Names the file and the command that mends it.
    """
    if not secret_file:
        return
    path = folder / secret_file
    if os.stat(path).st_mode & _OTHERS:
        raise ValueError(f"the file {path} is open to every user of this machine: chmod o-rwx {path}")
