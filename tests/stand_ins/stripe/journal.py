"""What happened, appended line by line, so that a restarted stand-in still knows its objects."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path


class Journal:
    """An append-only file of JSON lines; without a path it forgets."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = path.open("ab") if path else None

    def read(self) -> Iterator[Mapping[str, object]]:
        """Yield the lines written so far; a last line cut short by a kill is left out."""
        if self._path is None:
            return
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                yield json.loads(line)

    def write(self, **line: object) -> None:
        """Append one line."""
        if self._file is not None:
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._file.flush()

    def clear(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.truncate(0)
