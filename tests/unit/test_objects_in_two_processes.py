"""Random objects that one process writes and another reads."""

import json
import subprocess
import sys

from tests.support.processes import ROOT
from tests.support.random_objects import ENDINGS, write

READ = """
import json, sys
from tests.support.random_objects import differences
print(json.dumps(differences(sys.argv[1])))
"""


def test_forty_random_values_of_each_type_come_back_in_another_process(tmp_path):
    said = write(str(tmp_path))
    for ending in ENDINGS:
        # What is refused is named, with its place or with its type.
        assert all("result" in words for words in said[ending])
    reader = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert json.loads(reader.stdout) == []
