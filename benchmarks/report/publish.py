"""``python -m benchmarks.report.publish``: asv's pages, for a disk without a network.

``asv publish`` makes pages that load their scripts from four hosts, and their figures
by requests that browsers refuse for files. Here the scripts come from npm packages,
once, into ``.asv/``, and the figures go into a script beside them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.support import common

PACKAGES = [
    "jquery@3.3.1",
    "flot@0.8.3",
    "flot-orderbars@1.0.0",
    "stupid-table-plugin@1.1.3",
    "blueimp-md5@2.19.0",
    "bootstrap@3.1.1",
]
FILES = {
    "jquery-3.3.1.min.js": "jquery/dist/jquery.min.js",
    "jquery.flot.min.js": "flot/jquery.flot.js",
    "jquery.flot.time.min.js": "flot/jquery.flot.time.js",
    "jquery.flot.selection.min.js": "flot/jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "flot/jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "flot-orderbars/js/jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupid-table-plugin/stupidtable.min.js",
    "md5.min.js": "blueimp-md5/js/md5.min.js",
    "bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
    "bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
}
"""File that asv's page asks for to its place in the packages."""

ANSWER_FROM_PAGE = """
(function () {
  $.ajax = function (options) {
    var path = String(options.url).split("?")[0], answer = $.Deferred();
    var known = [path, decodeURIComponent(path)].filter(function (name) {
      return ASV_FILES.hasOwnProperty(name);
    });
    setTimeout(function () {
      if (known.length) {
        answer.resolve(JSON.parse(JSON.stringify(ASV_FILES[known[0]])));
      } else {
        answer.reject();
      }
    }, 0);
    return answer.promise();
  };
})();
"""
"""Takes the place of jQuery's requests: a copy of a figure, a moment later."""

_LOADED_FROM_A_HOST = re.compile(
    r'<(?P<tag>script|link)[^>]*?(?:src|href)="(?P<url>https?://[^"]+)"[^>]*>'
    r"(?:</script>)?"
)


def main() -> None:
    """Publish asv's results."""
    root = Path(common.ROOT)
    html, scripts = root / ".asv" / "html", root / ".asv" / "scripts"
    subprocess.run([sys.executable, "-m", "asv", "publish"], cwd=root, check=True)
    scripts.mkdir(exist_ok=True)
    packages = scripts / "node_modules"
    if not all((packages / file).exists() for file in FILES.values()):
        _install(scripts)
    make_self_contained(html, packages)
    sys.stdout.write(f"{html / 'index.html'}\n")


def _install(folder: Path) -> None:
    """Install the packages into a folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is needed once, for the scripts of asv's pages")
    command = [
        npm,
        "install",
        "--no-audit",
        "--no-fund",
        # A package's own code is not run.
        "--ignore-scripts",
        "--no-save",
        "--prefix",
        str(folder),
    ]
    subprocess.run([*command, *PACKAGES], check=True)


def make_self_contained(html: Path, packages: Path) -> None:
    """Bring the scripts and figures that a published page loads into its folder.

    Parameters
    ----------
    html
        asv's output.
    packages
        The folder ``node_modules``.

    Raises
    ------
    RuntimeError
        The page wants a script that is not known here: a newer asv.
    """
    (html / "scripts").mkdir(exist_ok=True)
    for name, source in FILES.items():
        shutil.copyfile(packages / source, html / "scripts" / name)
    shutil.copytree(
        packages / "bootstrap/dist/fonts", html / "fonts", dirs_exist_ok=True
    )

    page = html / "index.html"
    page.write_text(_LOADED_FROM_A_HOST.sub(_local, page.read_text()))
    figures = {
        file.relative_to(html).as_posix(): json.loads(file.read_text())
        for file in sorted(html.rglob("*.json"))
    }
    # asv looks for this file to tell a figure that is not there from a server that is
    # down.
    figures["swallow.ico"] = ""
    # A text must not end the script.
    text = json.dumps(figures, separators=(",", ":")).replace("</", "<\\/")
    (html / "scripts" / "figures.js").write_text(
        f"var ASV_FILES = {text};\n{ANSWER_FROM_PAGE}"
    )


def _local(loaded: re.Match[str]) -> str:
    """Return the tag of a script or style sheet in the page's folder."""
    name = loaded["url"].rpartition("/")[2]
    if name not in FILES:
        raise RuntimeError(
            f"asv's page loads {loaded['url']}, of which no package is known here"
        )
    if loaded["tag"] == "link":
        return f'<link rel="stylesheet" href="scripts/{name}">'
    script = f'<script src="scripts/{name}"></script>'
    # Right after jQuery, which it changes, and before asv's own scripts.
    if name.startswith("jquery-"):
        script += '<script src="scripts/figures.js"></script>'
    return script


if __name__ == "__main__":
    main()
