"""What is known of an installed distribution without importing it: its metadata, and a digest of its RECORD."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Mapping
from email.parser import HeaderParser
from importlib.metadata import Distribution
from operator import methodcaller
from typing import TypedDict
from urllib.parse import unquote, urlsplit

OF_THE_INSTALLER = {
    "RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "provenance_url.json", "uv_cache.json", "uv_build.json",
}  # fmt: skip
"""Files of a .dist-info folder that depend on who installed the wheel, and from where."""

SCRIPTS = ("bin/", "Scripts/")
"""Where wrappers lie, whose first line names an interpreter."""

_NAME = re.compile(r"[-_.]+")
_AT_COMMA = methodcaller("partition", ",")


class Facts(TypedDict):
    """A distribution, as a value that travels.

    `name` is normalised, `requires` the lines of Requires-Dist, `url` its direct_url.json (PEP 610) or empty, `installer`
    such as `pip`, `tags` its wheel's, `digest` that of its RECORD (empty without one), `plugin` whether pytest loads it,
    `folder` where it is installed.
    """

    name: str
    version: str
    requires: list[str]
    url: str
    installer: str
    tags: list[str]
    digest: str
    plugin: bool
    folder: str


def facts(one: Distribution, record: Mapping[str, str]) -> Facts:
    """What is known of a distribution whose RECORD has these files; its name is empty where its metadata are broken."""
    head = HeaderParser().parsestr(_head(one.read_text("METADATA") or one.read_text("PKG-INFO") or ""))
    requires = [str(line) for line in head.get_all("Requires-Dist", [])]
    return {
        "name": normalised(str(head["Name"] or "")),
        "version": str(head["Version"] or ""),
        "requires": requires or (one.requires or [] if one.read_text("requires.txt") else []),
        "url": (one.read_text("direct_url.json") or "").strip(),
        "installer": (one.read_text("INSTALLER") or "").strip(),
        "tags": re.findall(r"^Tag: *(\S+)", one.read_text("WHEEL") or "", re.MULTILINE),
        "digest": digest(record),
        "plugin": "[pytest11]" in (one.read_text("entry_points.txt") or ""),
        "folder": folder(one),
    }


def folder(one: Distribution) -> str:
    """Where a distribution is installed, links followed."""
    return os.path.realpath(str(one.locate_file("")))


def source(url: str) -> str:
    """The file or folder that a direct_url.json names, links followed; empty where it names none of this machine."""
    try:
        split = urlsplit(str(json.loads(url)["url"]))
    except (ValueError, KeyError, TypeError):
        return ""
    return os.path.realpath(unquote(split.path)) if split.scheme == "file" else ""


def is_editable(url: str) -> bool:
    """Whether a direct_url.json says that the distribution's code lies where it was installed from."""
    try:
        return bool(json.loads(url)["dir_info"]["editable"])
    except (ValueError, KeyError, TypeError):
        return False


def _head(metadata: str) -> str:
    """The fields without the description, which is most of it."""
    return metadata.replace("\r\n", "\n").partition("\n\n")[0]


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return _NAME.sub("-", name).lower()


def rows(record: str) -> dict[str, str]:
    """The files of a RECORD, relative to the distribution's folder, each with its hash: `sha256=…`, or empty.

    A dictionary of texts is nothing that the garbage collector walks through, unlike fifty thousand tuples beside a framework.
    """
    if '"' in record:  # csv quotes a path that has a comma
        return {row[0]: row[1] for row in csv.reader(record.splitlines()) if len(row) == 3}
    return {path: rest.partition(",")[0] for path, _, rest in map(_AT_COMMA, record.splitlines()) if "," in rest}


def digest(record: Mapping[str, str]) -> str:
    """32 hexadecimal digits of what a wheel's RECORD says of its files, alike for every installer; empty without files.

    Left out are the installer's own files, compiled Python, and scripts.
    """
    lines = sorted([f"{path},{sums}" for path, sums in record.items() if sums and not is_of_the_installer(path)])
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32] if lines else ""


def is_of_the_installer(path: str) -> bool:
    """Whether a path of a RECORD is of what an installer writes, whatever the wheel holds."""
    if path.startswith(".."):
        return path.lstrip("./").startswith(SCRIPTS)
    if path.endswith((".pyc", ".pyo")):
        return True
    where, _, name = path.rpartition("/")
    return name in OF_THE_INSTALLER and where.endswith(".dist-info")
