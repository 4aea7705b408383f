"""`make lab`: asks the network nothing, opens the table of contents beside the tour, and leaves the reader's own alone."""

import os
import subprocess
from pathlib import Path

import pytest
from jupyterlab.commands import get_app_dir
from jupyterlab_server.settings_utils import get_settings
from jupyterlab_server.workspaces_handler import WorkspacesManager

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """The environment and the arguments that `make lab` gives Jupyter, from commands that do nothing else."""
    folder = tmp_path_factory.mktemp("bin")
    commands = {"python": "exit 0", "jupyter": f'env > {folder}/environment; echo "$@" > {folder}/arguments'}
    for name, command in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{command}\n")
        (folder / name).chmod(0o755)
    (folder / "ready").touch()
    given = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    variables = [f"BIN={folder}", f"READY={folder}/ready"]
    subprocess.run(["make", "--silent", "lab", *variables], cwd=ROOT, env=given, check=True, timeout=60)
    lines = (folder / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line), (folder / "arguments").read_text()


def test_no_news_and_no_updates_are_fetched_unless_the_reader_says_so(started, monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", started[0]["JUPYTER_CONFIG_PATH"])
    application = Path(get_app_dir())
    name = "@jupyterlab/apputils-extension:notification"
    folders = [str(folder) for folder in (application / "settings", application / "schemas", tmp_path)]
    found, _ = get_settings(*folders, schema_name=name)
    defaults = {key: value["default"] for key, value in found["schema"]["properties"].items()}
    assert (defaults["fetchNews"], defaults["checkForUpdates"]) == ("false", False)
    assert "JUPYTERLAB_SETTINGS_DIR" not in started[0]


def test_the_tour_opens_in_a_layout_of_the_course_with_the_table_of_contents(started):
    environment, arguments = started
    assert "default_url=/lab/workspaces/course/tree/notebooks/00_tour.ipynb" in arguments
    folder = Path(environment["JUPYTERLAB_WORKSPACES_DIR"])
    assert folder.is_relative_to(ROOT / "build")
    kept = WorkspacesManager(str(folder)).load("course")
    assert kept["metadata"]["id"] == "course" and kept["data"]
    left = WorkspacesManager(str(ROOT / "course" / "jupyter")).load("course")["data"]["layout-restorer:data"]["left"]
    assert not left["collapsed"] and left["current"] == "@jupyterlab/toc:plugin" and left["current"] in left["widgets"]
