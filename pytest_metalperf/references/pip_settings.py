"""Where pip is set to find packages, as uv's variables: uv reads none of pip's settings."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ASK_SECONDS = 60.0
SECTIONS = ("global.", "install.", ":env:.")
"""Of pip's settings, the later ones win."""

_INDEXES = {
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_CONFIG_FILE",
}
_NAMES_INDEXES = re.compile(
    r"^\s*(\[\[(pip\.)?index\]\]|((extra-)?index-url|index|find-links|no-index)\s*=)", re.MULTILINE
)
_LINE = re.compile(r"^([\w:.-]+)=(['\"].*)$", re.MULTILINE)


def of_pip(environment: Mapping[str, str], said: str | None = None) -> dict[str, str]:
    """Variables that make uv look where pip is set to look; none where uv has indexes of its own.

    Only places, certificates and proxies are taken over: no constraint, no option of an installation.

    Args:
        environment: variables of this process.
        said: what `pip config list` prints; else this interpreter's pip is asked.
    """
    if _INDEXES & environment.keys() or _uv_has_indexes(environment):
        return {}
    set_to = settings(_asked(environment) if said is None else said)
    extra = set_to.get("extra-index-url", "").split()
    links = [_whole(link) for link in re.split(r"[\s,]+", set_to.get("find-links", "")) if link]
    found = {
        "UV_DEFAULT_INDEX": set_to.get("index-url", "").strip(),
        "UV_INDEX": " ".join(extra),
        "UV_FIND_LINKS": ",".join(links),
        "UV_NO_INDEX": "1" if set_to.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
        "UV_INSECURE_HOST": " ".join(set_to.get("trusted-host", "").split()),
        "UV_KEYRING_PROVIDER": "subprocess" if set_to.get("keyring-provider") in {"subprocess", "import"} else "",
        "SSL_CERT_FILE": set_to.get("cert", ""),
        "SSL_CLIENT_CERT": set_to.get("client-cert", ""),
        "ALL_PROXY": set_to.get("proxy", ""),
        # pip takes the version that is asked for from whichever index has it, uv only from the first that has the package
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra or links else "",
    }
    return {name: value for name, value in found.items() if value and not environment.get(name)}


def settings(said: str) -> dict[str, str]:
    """What `pip config list` prints, `global.index-url='https://…'`, by option."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for name, text in _LINE.findall(said):
        for section, options in found.items():
            if name.startswith(section):
                try:
                    options[name.removeprefix(section)] = str(ast.literal_eval(text))
                except (ValueError, SyntaxError):
                    continue
    return {name: value for options in found.values() for name, value in options.items()}


def _asked(environment: Mapping[str, str]) -> str:
    """What this interpreter's pip says of itself; where it has none, pip's variables."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        named = {name: value for name, value in environment.items() if name.startswith("PIP_")}
        return "\n".join(f":env:.{name[4:].lower().replace('_', '-')}={value!r}" for name, value in named.items())
    return done.stdout


def _uv_has_indexes(environment: Mapping[str, str]) -> bool:
    """Whether a person has set indexes in uv's own files, outside any project."""
    folders = [environment.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser()), "/etc"]
    for folder in [*folders, *environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)]:
        try:
            text = (Path(folder) / "uv" / "uv.toml").read_text(errors="replace")
        except OSError:
            continue
        if _NAMES_INDEXES.search(text):
            return True
    return False


def _whole(link: str) -> str:
    """A folder as another process understands it, which stands elsewhere."""
    return link if "://" in link else str(Path(link).expanduser().resolve())
