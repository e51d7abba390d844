"""What a container engine makes of an image, by hand: mounts of its own, a read-only root, a user without rights."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.deploy.dockerfile import Build

BASE = ("bin", "etc", "lib", "lib64", "sbin", "usr")
"""What the base image would bring, besides Python; of this machine, read-only."""
_PYTHON = {path for path in (sys.base_prefix, os.path.realpath(sys.base_prefix)) if not path.startswith("/usr/")}


def is_possible() -> bool:
    """Whether mounts of one's own are allowed: in a container without rights, as CI may be one, they are not.

    Nor is there a place for a Python that lives where the image has its own.
    """
    taken = [python for python in _PYTHON if python.startswith(("/app/", "/opt/", "/var/"))]
    return not taken and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


class Container:
    """``user`` as in ``USER``; ``volume`` as in ``VOLUME``: with ``/tmp`` all that may be written to."""

    def __init__(self, build: Build, folder: Path, *, user: str, volume: str) -> None:
        self._root, self._user = folder / "container", user
        self._root.mkdir(mode=0o755)
        base = {f"/{name}": Path("/", name) for name in BASE if Path("/", name).exists()}
        python = {path: Path(path) for path in _PYTHON - {"/usr"}}
        image = {f"/{path.name}": path for path in build.root.iterdir()}
        self._read_only = {**base, **python, **image}
        self._written = {volume: build.root / volume.lstrip("/"), "/dev": Path("/dev"), "/proc": Path("/proc")}
        self._workdir = build.workdir
        for place in (*self._read_only, *self._written, "/tmp"):
            (self._root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def command(self, words: Sequence[str]) -> list[str]:
        """Runs ``words`` in it; the process is the one that is started, not a child."""
        lines = ["set -e", self._bound("/", self._root)]
        lines += [self._bound(place, origin) for place, origin in (self._read_only | self._written).items()]
        lines.append(f"mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs {self._quoted('/tmp')}")
        lines += [f"mount -o remount,ro,bind {self._quoted(place)}" for place in (*self._read_only, "/")]
        user, group = self._user.split(":")
        nobody = f"setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --bounding-set=-all"
        there = ["sh", "-c", f'cd {self._workdir} && exec "$@"', "sh", *words]
        lines.append(f"exec chroot {self._quoted('/')} {nobody} {shlex.join(there)}")
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)]

    def _bound(self, place: str, origin: Path) -> str:
        how = "--rbind" if place in ("/dev", "/proc") else "--bind"
        return f"mount {how} {shlex.quote(str(origin))} {self._quoted(place)}"

    def _quoted(self, place: str) -> str:
        return shlex.quote(str(self._root / place.lstrip("/")))
