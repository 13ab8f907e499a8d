"""An installer in uv's place, started as a program: it copies packages that `fake_distributions.put` made.

UV_FIND_LINKS names its index, a folder with one for each `name==version`. There, `wait` holds the seconds that installing
takes, `calls` gets a line of JSON for each call, and `after.py` runs in the environment's folder when all is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path


def main(words: list[str]) -> int:
    if "--target" in words:  # a project, of which `src` is all there is to build
        target = Path(words[words.index("--target") + 1])
        if not (Path(words[-1]) / "src").is_dir():
            print("error: Failed to build the project\n  cause: it has no src")
            return 1
        shutil.copytree(Path(words[-1]) / "src", target)
        return 0
    index = Path(os.environ["UV_FIND_LINKS"])
    packages = Path(words[words.index("-r") + 1]).read_text() if "-r" in words else ""
    with (index / "calls").open("a") as file:
        call = {"words": words, "packages": packages, "environment": dict(os.environ), "in": str(Path.cwd())}
        file.write(json.dumps(call) + "\n")
    environment = Path("environment")
    site = environment / "lib" / "python3" / "site-packages"
    if words[0] == "venv":
        site.mkdir(parents=True)
        (environment / "bin").mkdir()
        (environment / "bin" / "python").symlink_to(sys.executable)
        return 0
    for one in packages.split():
        if not (index / one).is_dir():
            print(f"error: No solution found\n  cause: Because there is no version of {one} and you require {one}, we")
            print("can conclude that your requirements are unsatisfiable.")
            return 1
        shutil.copytree(index / one, site, dirs_exist_ok=True)
        if (index / "wait").exists():
            time.sleep(float((index / "wait").read_text()))
    if (index / "after.py").exists():
        exec((index / "after.py").read_text(), {"environment": environment, "site": site})
    (environment / ".lock").write_text("")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
