"""``python -m benchmarks.report.publish``: asv's pages, made to open from the disk and without a network.

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
"""What asv's page asks for, and where it lies in the packages."""

ANSWER_FROM_PAGE = """
(function () {
  $.ajax = function (options) {
    var path = String(options.url).split("?")[0], answer = $.Deferred();
    var found = [path, decodeURIComponent(path)].filter(function (each) { return ASV_FILES.hasOwnProperty(each); });
    setTimeout(function () {
      if (found.length) { answer.resolve(JSON.parse(JSON.stringify(ASV_FILES[found[0]]))); } else { answer.reject(); }
    }, 0);
    return answer.promise();
  };
})();
"""


def main() -> None:
    """Publish what is in asv's results."""
    root = Path(common.ROOT)
    html, scripts = root / ".asv" / "html", root / ".asv" / "scripts"
    subprocess.run([sys.executable, "-m", "asv", "publish"], cwd=root, check=True)
    scripts.mkdir(exist_ok=True)
    if not all((scripts / "node_modules" / each).exists() for each in FILES.values()):
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("npm is needed once, for the scripts of asv's pages")
        command = [
            npm,
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--no-save",
            "--prefix",
            str(scripts),
        ]
        subprocess.run([*command, *PACKAGES], check=True)
    make_self_contained(html, scripts / "node_modules")
    sys.stdout.write(f"{html / 'index.html'}\n")


def make_self_contained(html: Path, packages: Path) -> None:
    """Bring what a published page loads from elsewhere into its folder.

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

    def local(found: re.Match[str]) -> str:
        name = found["url"].rpartition("/")[2]
        if name not in FILES:
            raise RuntimeError(
                f"asv's page loads {found['url']}, of which no package is known here"
            )
        if found["tag"] == "link":
            return f'<link rel="stylesheet" href="scripts/{name}">'
        script = f'<script src="scripts/{name}"></script>'
        return (
            script + '<script src="scripts/figures.js"></script>'
            if name.startswith("jquery-")
            else script
        )

    page = html / "index.html"
    pattern = r'<(?P<tag>script|link)[^>]*?(?:src|href)="(?P<url>https?://[^"]+)"[^>]*>(?:</script>)?'
    page.write_text(re.sub(pattern, local, page.read_text()))
    figures = {
        each.relative_to(html).as_posix(): json.loads(each.read_text())
        for each in sorted(html.rglob("*.json"))
    }
    # asv looks for this file to tell a figure that is not there from a server that is
    # down.
    figures["swallow.ico"] = ""
    text = json.dumps(figures, separators=(",", ":")).replace("</", "<\\/")
    (html / "scripts" / "figures.js").write_text(
        f"var ASV_FILES = {text};\n{ANSWER_FROM_PAGE}"
    )


if __name__ == "__main__":
    main()
