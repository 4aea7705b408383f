"""The check of the environment: looks at the machine and says what to do where something is wrong.

python -m course.environment
"""

import importlib
import importlib.metadata
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from recfuse_lib import pretrained
from recfuse_lib.teaching.environment import cores, device, quiet_import

MEMORY_NEEDED_GB = 4.0
DISK_NEEDED_GB = 1.0


class Finding(NamedTuple):
    """One line of the check: ``ok``, ``note`` (the course works) or ``wrong`` (it does not), and what to do."""

    state: str
    text: str
    advice: str = ""


def main() -> int:
    """Look at everything that the course needs and print a report; return 1 when something is wrong."""
    return 1 if any(finding.state == "wrong" for finding in report(CHECKS).values()) else 0


def report(checks: dict[str, Callable[[], Finding]]) -> dict[str, Finding]:
    """Run checks and print what each finds and advises."""
    begun = time.perf_counter()
    print("RecFuse environment check")
    findings = {}
    for subject, check in checks.items():
        try:
            finding = check()
        except Exception as error:  # a check that fails in an unforeseen way is itself a finding
            finding = Finding("wrong", f"{type(error).__name__}: {error}", "send this report with a bug report")
        findings[subject] = finding
        print(f"  {finding.state:<5} {subject:<8} {finding.text}")
        if finding.advice:
            print(f"{'':17}→ {finding.advice}", flush=True)
    states = [finding.state for finding in findings.values()]
    wrong, notes = states.count("wrong"), states.count("note")
    verdict = f"{wrong} wrong, {notes} to note" if wrong else "ready" + (f", {notes} to note" if notes else "")
    print(f"{verdict} ({time.perf_counter() - begun:.0f} s)")
    return findings


def _check_python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("ok", text)
    return Finding("wrong", text, "use Python 3.11, 3.12 or 3.13: make lab PYTHON=python3.12")


def _check_packages() -> Finding:
    from packaging.requirements import Requirement

    tested, broken, differing = _tested_versions(), [], []
    requirements = [Requirement(line) for line in importlib.metadata.requires("recfuse_lib") or []]
    requirements = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in requirements:
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            broken.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(version, prereleases=True):
            broken.append(f"{one.name} is {version}, needed {one.specifier}")
        elif tested.get(one.name.lower(), version) != version:
            differing.append(f"{one.name} {version} (tested {tested[one.name.lower()]})")
    if broken:
        return Finding("wrong", "; ".join(broken), "run: pip install -c constraints.txt -e .")
    if differing:
        return Finding("note", "; ".join(differing), "results may differ a little")
    return Finding("ok", f"all {len(requirements)} as tested")


def _tested_versions() -> dict[str, str]:
    """Those of constraints.txt, where the repository is at hand (an editable installation)."""
    path = Path(__file__).parents[1] / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pins = (line.split("#")[0].partition("==") for line in lines)
    return {name.strip().lower(): version.strip() for name, _, version in pins if version}


def _check_keras() -> Finding:
    """What ``$KERAS_BACKEND`` and ``keras.json`` ask for: a backend may be missing, another precision moves figures."""
    try:
        keras = quiet_import("keras")
    except (ImportError, ValueError) as error:
        return Finding("wrong", str(error), "unset KERAS_BACKEND and the backend in keras.json, or name tensorflow")
    floatx = keras.config.floatx()
    if floatx != "float32":
        return Finding(
            "wrong", f"floatx is {floatx}", "set floatx in keras.json to float32, as the course's tables are"
        )
    return Finding("ok", f"backend {keras.backend.backend()}, {floatx}")


def _check_memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    text = f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
    if memory.available >= MEMORY_NEEDED_GB * 1e9:
        return Finding("ok", text)
    return Finding("note", text, f"close other programs: {MEMORY_NEEDED_GB:.0f} GB free are enough")


def _check_cache() -> Finding:
    folder = pretrained.cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        advice = "encodings are computed again each time; set RECFUSE_CACHE to a folder that you may write to"
        return Finding("note", f"{folder} cannot be written ({error.strerror})", advice)
    text = f"{folder} can be written, {free:.1f} GB free"
    if free >= DISK_NEEDED_GB:
        return Finding("ok", text)
    return Finding("note", text, f"free {DISK_NEEDED_GB:.0f} GB, or set RECFUSE_CACHE to a larger disk")


def _check_weights() -> Finding:
    missing = []
    # An empty folder as the only source: the check verifies what is there and fetches nothing.
    with tempfile.TemporaryDirectory() as empty:
        for name in ("minilm", "smollm2"):
            try:
                pretrained.load(name, source=empty, progress=False)
            except pretrained.PretrainedError:
                missing.append(name)
    if missing:
        text = f"{', '.join(missing)} not in the cache, or not as pinned"
        return Finding("wrong", text, f"run: python -m recfuse_lib.pretrained {' '.join(missing)}")
    return Finding("ok", "minilm, smollm2 present and verified")


def _check_kernel() -> Finding:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    importlib.import_module("ipykernel")
    lab = f"JupyterLab {importlib.metadata.version('jupyterlab')}"
    advice = "run: python -m ipykernel install --sys-prefix"
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Finding("wrong", "there is no kernel called python3", advice)
    # "python" stands for the interpreter that Jupyter itself runs on.
    if Path(command).name == command or Path(command).absolute() == Path(sys.executable).absolute():
        return Finding("ok", f"{lab}, kernel python3 is this Python")
    return Finding("note", f"{lab}, kernel python3 is {command}", advice)


def _check_device() -> Finding:
    if (name := device()) != "CPU":
        return Finding("ok", f"{cores()} CPU cores, {name}")
    if shutil.which("nvidia-smi"):
        advice = 'a GPU is there but unused; run: pip install -e ".[gpu]"'
        return Finding("note", f"{cores()} CPU cores, no GPU", advice)
    return Finding("ok", f"{cores()} CPU cores, no GPU (none is needed)")


CHECKS: dict[str, Callable[[], Finding]] = {
    "python": _check_python,
    "packages": _check_packages,
    "keras": _check_keras,
    "memory": _check_memory,
    "cache": _check_cache,
    "weights": _check_weights,
    "jupyter": _check_kernel,
    "device": _check_device,
}


if __name__ == "__main__":
    sys.exit(main())
