"""Build the site: `python -m course.site` (`make site`), with `--builder gettext` the messages of its translation."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from sphinx.cmd.build import build_main

from course.site import pages

BUILD = pages.REPOSITORY / "build"


def main(arguments: list[str] | None = None) -> int:
    """Write the pages to build/site-pages and let Sphinx make build/site of them; 0 when nothing was amiss."""
    parser = argparse.ArgumentParser(prog="python -m course.site", description=main.__doc__)
    parser.add_argument("--output", type=Path, default=BUILD / "site", help="default: build/site")
    parser.add_argument("--pages", type=Path, default=BUILD / "site-pages", help="default: build/site-pages")
    parser.add_argument("--builder", default="html", help="html, or gettext for the messages of a translation")
    parser.add_argument("--lessons", nargs="*", help="some lessons, by the beginning of their names; default: all")
    parser.add_argument("--no-api", action="store_true", help="without the library's pages, which import it")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    shutil.rmtree(options.output, ignore_errors=True)
    extras = options.builder == "html"
    pages.write(options.pages, options.lessons, api=extras and not options.no_api, extras=extras)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    settings = ["-b", options.builder, "-c", str(Path(__file__).parent), "-W", "--keep-going", "-q", "-E"]
    code = build_main([*settings, "-d", str(options.pages) + "-read", str(options.pages), str(options.output)])
    size = sum(path.stat().st_size for path in options.output.rglob("*") if path.is_file())
    took = f"{time.perf_counter() - began:.0f} s, {time.process_time():.0f} of the processor"
    print(f"{options.output}: {size / 1e6:.0f} MB in {took}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
