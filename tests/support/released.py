"""Record of releases: digests of revision files, and of each numbered set of SQL functions.

`python -m tests.support.released` adds the working tree's; it is run once for each release.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pgretrieval import assets

FILE = Path(__file__).parents[1] / "migration" / "released.json"


@dataclass(frozen=True)
class Released:
    """`revisions` maps file names to SHA-256 digests, `functions` numbers of function sets to digests."""

    revisions: dict[str, str]
    functions: dict[str, str]

    @classmethod
    def read(cls, file: Path = FILE) -> Released:
        """Read the record of releases."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))

    def with_the_working_tree(self) -> Released:
        """The record after releasing the working tree; raises ValueError if it changes a released file."""
        if wrong := self.violations():
            raise ValueError("\n".join(wrong))
        return Released(_digests(), {**self.functions, str(assets.functions_number()): assets.functions_digest()})

    def write(self, file: Path = FILE) -> None:
        """Write the record."""
        file.write_text(json.dumps({"revisions": self.revisions, "functions": self.functions}, indent=2) + "\n", encoding="utf-8")

    def violations(self) -> list[str]:
        """Differences of the working tree from released files, with the remedy."""
        there, number, digest = _digests(), assets.functions_number(), assets.functions_digest()
        names = {name.partition("_")[0] for name in self.revisions}
        wrong = [
            f"{name} was released: take the change back and write a new revision (CONTRIBUTING.md)"
            for name in sorted(self.revisions.keys() | {name for name in there if name.partition("_")[0] in names})
            if there.get(name) != self.revisions.get(name)
        ]
        if number < max(map(int, self.functions), default=1):
            wrong.append(f"sql/functions_number.txt says {number}, and a higher number was released: take the change back")
        if self.functions.get(str(number), digest) != digest:
            wrong.append("the SQL functions were changed since the release: count sql/functions_number.txt up by one")
        return wrong


def _digests() -> dict[str, str]:
    files = sorted(path for path in (assets.MIGRATIONS / "versions").iterdir() if path.is_file())
    return {path.name: sha256(path.read_text(encoding="utf-8").encode()).hexdigest() for path in files}


if __name__ == "__main__":
    Released.read().with_the_working_tree().write()
