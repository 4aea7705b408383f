"""The set-up cell of every notebook, and the check of the environment.

``environment.start()`` opens every notebook; ``python -m recfuse_lib.teaching.environment`` looks at
the machine and says what to do where something is wrong.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

PROFILES = ("laptop", "full")
SHOWN_PACKAGES = ("tensorflow", "keras", "keras-hub", "keras-rs", "numpy", "pandas")
WEIGHTS = ("minilm", "smollm2")
MEMORY_NEEDED_GB = 4.0
DISK_NEEDED_GB = 1.0


def quiet_import(name: str) -> ModuleType:
    """Import a framework without its start-up messages on the page.

    TensorFlow writes some of them past Python, straight to the process's standard error, before any
    setting of its own takes effect. When the import fails they are shown.

    Args:
        name: The module, ``"keras"``.

    Example:
        >>> quiet_import("json").__name__
        'json'
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            return importlib.import_module(name)
        except Exception:
            messages.seek(0)
            os.write(standard_error, messages.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)


def profile() -> str:
    """The size of the experiments: ``laptop`` (two CPU cores, the default) or ``full`` (a GPU).

    It is set by the environment variable ``RECFUSE_PROFILE``.

    Raises:
        ValueError: If the variable holds anything else.

    Example:
        >>> profile() in PROFILES
        True
    """
    name = os.environ.get("RECFUSE_PROFILE", PROFILES[0])
    if name not in PROFILES:
        raise ValueError(f"RECFUSE_PROFILE is {name!r}; set it to one of {', '.join(PROFILES)}")
    return name


def media_folder() -> Path | None:
    """A folder of your own pictures, named by item id, or None when none was given.

    It is set by ``--media DIR`` of ``python -m course``, or by the environment variable
    ``RECFUSE_MEDIA``.

    Raises:
        FileNotFoundError: If there is no such folder.

    Example:
        >>> media_folder() is None
        True
    """
    name = os.environ.get("RECFUSE_MEDIA")
    if name and not Path(name).is_dir():
        raise FileNotFoundError(f"RECFUSE_MEDIA is {name!r}: there is no such folder; name one that holds 1.jpg, …")
    return Path(name) if name else None


def start(seed: int = 0) -> None:
    """Open a notebook: set the seeds and the figure style, print versions, profile and device.

    Call it before Keras or TensorFlow is imported: it also keeps their start-up messages off the page.

    Args:
        seed: The seed of Python's, NumPy's and the Keras backend's random numbers.

    Example:
        >>> start(seed=0)  # doctest: +ELLIPSIS
        Python 3..., tensorflow 2..., keras 3...
        profile laptop, seed 0, tensorflow on ..., ... CPU cores
    """
    # KerasHub's dependencies ask for a progress widget, which the course does not use.
    warnings.filterwarnings("ignore", message="IProgress not found")
    keras = quiet_import("keras")

    from recfuse_lib.teaching import figures

    keras.utils.set_random_seed(seed)
    figures.use_style()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in SHOWN_PACKAGES)
    print(f"Python {platform.python_version()}, {versions}")
    print(f"profile {profile()}, seed {seed}, {keras.backend.backend()} on {_device()}, {_cores()} CPU cores")


@dataclass(frozen=True)
class Finding:
    """One line of the environment check.

    Attributes:
        subject: What was looked at.
        state: ``ok``, ``note`` (the course works) or ``wrong`` (it does not).
        text: What was found.
        advice: What to do about it; empty when there is nothing to do.
    """

    subject: str
    state: str
    text: str
    advice: str = ""


def check() -> Iterator[Finding]:
    """Look at everything that the course needs and yield the findings one by one.

    A check that fails in an unforeseen way is itself a finding.
    """
    checks: list[Callable[[], Finding]] = [
        _check_python,
        _check_packages,
        _check_keras,
        _check_memory,
        _check_disk,
        _check_cache,
        *[lambda name=name: _check_weights(name) for name in WEIGHTS],  # type: ignore[misc]
        _check_kernel,
        _check_device,
    ]
    for one in checks:
        try:
            yield one()
        except Exception as error:
            name = getattr(one, "__name__", "check").replace("_check_", "")
            yield Finding(name, "wrong", f"{type(error).__name__}: {error}", "send this report with a bug report")


def main() -> int:
    """Print the report; return 1 when something is wrong."""
    begun = time.perf_counter()
    print("RecFuse environment check")
    wrong = notes = 0
    for finding in check():
        wrong += finding.state == "wrong"
        notes += finding.state == "note"
        print(f"  {finding.state:<5} {finding.subject:<8} {finding.text}")
        if finding.advice:
            print(f"{'':17}→ {finding.advice}", flush=True)
    seconds = time.perf_counter() - begun
    verdict = f"{wrong} wrong, {notes} to note" if wrong else "ready" + (f", {notes} to note" if notes else "")
    print(f"{verdict} ({seconds:.0f} s)")
    return 1 if wrong else 0


def _check_python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", text)
    return Finding("python", "wrong", text, "use Python 3.11, 3.12 or 3.13: make lab PYTHON=python3.12")


def _check_packages() -> Finding:
    from packaging.requirements import Requirement

    constraints = _constraints()
    broken, differing, count = [], [], 0
    for line in importlib.metadata.requires("recfuse_lib") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            broken.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            broken.append(f"{requirement.name} is {installed}, needed {requirement.specifier}")
        elif constraints.get(requirement.name.lower(), installed) != installed:
            differing.append(f"{requirement.name} {installed} (tested {constraints[requirement.name.lower()]})")
    if broken:
        return Finding("packages", "wrong", "; ".join(broken), "run: pip install -c constraints.txt -e .")
    if differing:
        return Finding("packages", "note", "; ".join(differing), "results may differ a little")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in SHOWN_PACKAGES[:3])
    return Finding("packages", "ok", f"all {count} as tested: {versions}, …")


def _check_keras() -> Finding:
    """What `KERAS_BACKEND` or `keras.json` chose: a backend that is not there, or another precision, fails later."""
    backend = os.environ.get("KERAS_BACKEND") or _keras_settings().get("backend", "tensorflow")
    package = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}.get(backend)
    where = "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else str(_keras_folder() / "keras.json")
    if package is None or importlib.util.find_spec(package) is None:
        text = f"{where} asks for the backend {backend!r}, which is not installed"
        return Finding("keras", "wrong", text, "unset it, or set it to tensorflow")
    floatx = _keras_settings().get("floatx", "float32")
    if floatx != "float32":
        text = f"{_keras_folder() / 'keras.json'} sets floatx to {floatx}"
        return Finding("keras", "wrong", text, "set it to float32, which the course's tables and tests are made with")
    return Finding("keras", "ok", f"backend {backend}, {floatx}")


def _keras_folder() -> Path:
    named = os.environ.get("KERAS_HOME")
    return Path(named) if named else Path.home() / ".keras"


def _keras_settings() -> dict[str, str]:
    try:
        settings = json.loads((_keras_folder() / "keras.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # as Keras does
    return settings if isinstance(settings, dict) else {}


def _check_memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    text = f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
    if memory.available >= MEMORY_NEEDED_GB * 1e9:
        return Finding("memory", "ok", text)
    return Finding("memory", "note", text, f"close other programs: {MEMORY_NEEDED_GB:.0f} GB free are enough")


def _check_disk() -> Finding:
    folder = _nearest_existing(_cache_dir())
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{free:.1f} GB free where the cache lies"
    if free >= DISK_NEEDED_GB:
        return Finding("disk", "ok", text)
    return Finding("disk", "note", text, f"free {DISK_NEEDED_GB:.0f} GB, or set RECFUSE_CACHE to a larger disk")


def _check_cache() -> Finding:
    folder = _cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = "encodings are computed anew each time; set RECFUSE_CACHE to a folder that you may write to"
        return Finding("cache", "note", f"{folder} cannot be written ({error.strerror})", advice)
    return Finding("cache", "ok", f"{folder} can be written")


def _check_weights(name: str) -> Finding:
    from recfuse_lib import pretrained

    # An empty folder as the only source: the check verifies what is there and fetches nothing.
    with tempfile.TemporaryDirectory() as empty:
        try:
            pretrained.load(name, source=empty, progress=False)
        except pretrained.PretrainedError:
            text = f"{name} is not in the cache, or not as it should be"
            return Finding("weights", "wrong", text, f"run: python -m recfuse_lib.pretrained {name}")
    size = pretrained.MODELS[name].size / 1e6
    return Finding("weights", "ok", f"{name} present and verified ({size:.0f} MB)")


def _check_kernel() -> Finding:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    importlib.import_module("ipykernel")
    importlib.import_module("jupyterlab")
    advice = "run: python -m ipykernel install --sys-prefix"
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Finding("jupyter", "wrong", "there is no kernel called python3", advice)
    found = shutil.which(command) or command
    # "python" stands for the interpreter that Jupyter itself runs on.
    same = Path(command).name == command or Path(found).absolute() == Path(sys.executable).absolute()
    lab = importlib.metadata.version("jupyterlab")
    if same:
        return Finding("jupyter", "ok", f"JupyterLab {lab}, kernel python3 is this Python")
    return Finding("jupyter", "note", f"JupyterLab {lab}, kernel python3 is {command}", advice)


def _check_device() -> Finding:
    device = _device()
    text = f"{_cores()} CPU cores, {device if device != 'CPU' else 'no GPU'}"
    if device == "CPU" and shutil.which("nvidia-smi"):
        return Finding("device", "note", text, 'a GPU is there but unused; run: pip install -e ".[gpu]"')
    return Finding("device", "ok", text if device != "CPU" else f"{text} (none is needed)")


def _device() -> str:
    tf = quiet_import("tensorflow")
    names = []
    for device in tf.config.list_physical_devices("GPU"):
        names.append(tf.config.experimental.get_device_details(device).get("device_name", "GPU"))
    return ", ".join(names) or "CPU"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cache_dir() -> Path:
    from recfuse_lib import pretrained

    return pretrained.cache_dir()


def _nearest_existing(folder: Path) -> Path:
    return next(path for path in [folder, *folder.parents] if path.exists())


def _constraints() -> dict[str, str]:
    """The tested versions, where the repository is at hand (an editable installation)."""
    path = Path(__file__).parents[2] / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pins = (line.split("#")[0].partition("==") for line in lines)
    return {name.strip().lower(): version.strip() for name, _, version in pins if version}


if __name__ == "__main__":
    sys.exit(main())
