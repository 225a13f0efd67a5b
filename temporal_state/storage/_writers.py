"""Who last wrote an object, kept with it, so that a writer whose reply was lost can find out.

A refused or unanswered conditional write may have been stored all the same, and by the time its
writer looks, others may have written on top of it. So every object carries, as one attribute, a
table of its recent writers with the number of each one's last commit, and every commit hands the
table on. It is the table of client sessions of a replicated log, kept where the data is.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

ATTRIBUTE = "writers"  # Azure takes only names that could be a C# identifier
KEPT = 48  # about a kilobyte; S3 takes two for all attributes of an object

_ENTRY = re.compile(r"([A-Za-z0-9_-]{1,32}):([0-9]{1,18})")
_Entry: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Writers:
    """The table: writers with the number of their last commit, the latest commit at the end."""

    entries: tuple[_Entry, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Writers":
        """Return the table that an attribute holds; what is no entry is left out."""
        matches = (_ENTRY.fullmatch(part) for part in text.split(","))
        return cls(tuple((match[1], int(match[2])) for match in matches if match))

    def __str__(self) -> str:
        return ",".join(f"{writer}:{number}" for writer, number in self.entries)

    def having(self, writer: str, number: int) -> "Writers":
        """Return the table after one more commit."""
        others = [entry for entry in self.entries if entry[0] != writer]
        return Writers((*others, (writer, number))[-KEPT:])

    def has(self, writer: str, number: int) -> bool:
        """Return whether this commit, or a later one of the same writer, is in the table."""
        return any(name == writer and last >= number for name, last in self.entries)

    def may_have_dropped(self, since: "Writers") -> bool:
        """Return whether an entry made upon the table ``since`` could have left this one again.

        Entries leave in the order of their commits. As long as one of those that were there before
        is still here, none that came after it has left.
        """
        return len(self.entries) >= KEPT and set(self.entries).isdisjoint(since.entries)
