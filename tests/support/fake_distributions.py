"""Distributions without code, as an installer leaves them: a folder with METADATA, RECORD and what else is wished for."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path


def sums(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def put(
    site: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, str] | None = None,
    *,
    requires: Iterable[str] = (),
    url: Mapping[str, object] | None = None,
    installer: str = "pip",
    tag: str = "py3-none-any",
    plugin: bool = False,
    record: bool = True,
    more: Iterable[str] = (),
) -> Path:
    """Install one into `site`; `files` are its own, `more` further lines of its RECORD. Its .dist-info folder."""
    files = {f"{name.replace('-', '_')}/__init__.py": f"VERSION = {version!r}\n"} if files is None else files
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    lines = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        *(f"Requires-Dist: {one}\n" for one in requires),
    ]
    inside = {
        **files,
        f"{info}/METADATA": "".join([*lines, "\nThe description.\nName: none\n"]),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n",
        f"{info}/INSTALLER": f"{installer}\n",
        **({f"{info}/direct_url.json": json.dumps(url)} if url is not None else {}),
        **({f"{info}/entry_points.txt": "[pytest11]\nit = it\n"} if plugin else {}),
    }
    rows = [f"{info}/RECORD,,", *more]
    for path, text in inside.items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        rows.append(f"{path},{sums(text.encode())},{len(text)}")
    if record:
        (site / info / "RECORD").write_text("\n".join(rows) + "\n")
    return site / info
