"""
Where the archive lies: a folder or a bucket (``ARCHIVE_URL``), behind one API.

Every object is named by the SHA-256 of its content and never changed: to write the same again changes nothing, and what
is read is checked against its name.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import obstore
from django.conf import settings
from obstore import exceptions
from obstore.store import LocalStore, ObjectStore, from_url

from metering import errors

_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object of the archive: its path, the SHA-256 of its content, its size."""

    path: str
    sha256: str
    size_bytes: int


def is_configured() -> bool:
    """Whether there is an archive at all."""
    return bool(settings.ARCHIVE_URL)


def put(*, folder: str, file: Path) -> StoredObject:
    """
    Keep a file's content under its hash, in ``folder``, with the file's own suffix.

    Idempotency: the same content has the same place.

    Raises:
        errors.ArchiveUnreachable: it was not kept.
    """
    sha256 = _hash(file)
    path = f"{folder}/{sha256}{file.suffix}"
    with _told(path):
        obstore.put(_open(), path, file)
    _make_durable(path)
    return StoredObject(path=path, sha256=sha256, size_bytes=file.stat().st_size)


@contextmanager
def fetched(*, path: str, sha256: str) -> Iterator[Path]:
    """
    An object's content as a file, as long as the block lasts.

    Raises:
        errors.ArchiveUnreachable: it cannot be read.
        errors.ArchiveDamaged: it is not what was kept.
    """
    with scratch_folder() as folder:
        file = folder / Path(path).name
        fetch(path=path, sha256=sha256, file=file)
        yield file


def fetch(*, path: str, sha256: str, file: Path) -> None:
    """
    Copy an object's content to ``file``.

    Raises:
        errors.ArchiveUnreachable: it cannot be read.
        errors.ArchiveDamaged: it is not what was kept.
    """
    with _told(path), file.open("wb") as target:
        for chunk in obstore.get(_open(), path).stream(min_chunk_size=_CHUNK_BYTES):
            target.write(chunk)
    if _hash(file) != sha256:
        raise errors.ArchiveDamaged(f"{path}: its content has another SHA-256 than {sha256}")


def size_of(path: str) -> int:
    """
    The size of an object, to see that it is there.

    Raises:
        errors.ArchiveUnreachable: it is not, or cannot be asked for.
    """
    with _told(path):
        return int(obstore.head(_open(), path)["size"])


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for what is on its way, gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="billing-archive-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open() -> ObjectStore:
    url = settings.ARCHIVE_URL
    if not url:
        raise errors.ArchiveNotConfigured("ARCHIVE_URL is not set: there is nowhere to archive to")
    root = _local_root()
    return LocalStore(root, mkdir=True) if root else from_url(url)


def _local_root() -> Path | None:
    parts = urlsplit(settings.ARCHIVE_URL)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _make_durable(path: str) -> None:
    """On a disk of ours, see to it that the file and its folders survive a loss of power; a bucket does so itself."""
    root = _local_root()
    if root is None:
        return
    place = root / path
    for each in (place, *(parent for parent in place.parents if parent == root or root in parent.parents)):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _hash(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Tell what the store or the disk refuses as a failure of ours, which names the object."""
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        raise errors.ArchiveUnreachable(f"{path}: {error}") from error
