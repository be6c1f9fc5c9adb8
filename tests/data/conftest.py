"""Written Reddit dumps, and what `extract` makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from dialogpt.artifact import Manifest
from dialogpt.data import ExtractConfig
from dialogpt.data.extract import extract
from dialogpt.session import Session, read_sessions

Record = dict[str, Any]


class Dumps:
    """A folder with dumps; in a record a comment's `parent` is its number, 0 for the submission."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"

    @staticmethod
    def comment(number: int, parent: int, body: str, thread: str = "x", **fields: Any) -> Record:
        above = f"t1_{thread}{parent}" if parent else f"t3_{thread}"
        base = {"id": f"{thread}{number}", "link_id": f"t3_{thread}", "parent_id": above, "body": body, "score": 1}
        return base | {"subreddit": "s", "author": f"a{number}"} | fields

    @staticmethod
    def submission(thread: str = "x", **fields: Any) -> Record:
        return {"id": thread, "title": "A title", "num_comments": 5, "author": "op", "subreddit": "s"} | fields

    def chain(self, *bodies: str, thread: str = "x", **last: Any) -> list[Record]:
        """A thread of comments, each the answer to the one before it, and its submission; `last` is of the leaf."""
        chain = [self.comment(n, n - 1, body, thread) for n, body in enumerate(bodies, 1)]
        chain[-1] |= last
        return [self.submission(thread), *chain]

    def write(self, *records: Record, name: str = "R") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    def run(self, *records: Record, **options: Any) -> tuple[Manifest, list[Session]]:
        """Extract one dump of these records; the manifest, whose numbers must add up, and the sessions."""
        manifest = self.extract(self.write(*records), **options)
        return manifest, list(read_sessions(self.out))

    def extract(self, *dumps: Path, **options: Any) -> Manifest:
        manifest = extract(ExtractConfig(dumps=dumps, out=self.out, overwrite=True, **options))
        counts = manifest.counts

        def lost(*units: str) -> int:
            return sum(count for reason, count in manifest.dropped.items() if reason.split(":")[0] in units)

        assert counts["lines"] == counts["comments"] + counts["submissions"] + lost("line")
        assert counts["comments"] + counts["submissions"] == counts["posts"] + lost("comment", "title", "submission")
        assert counts["paths"] == counts["sessions"] + lost("path")
        return manifest


@pytest.fixture
def dumps(tmp_path: Path) -> Dumps:
    return Dumps(tmp_path)
