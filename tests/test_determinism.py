"""The same command gives the same bits, whatever the process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import repeated


def test_every_family_of_commands_repeats_bit_for_bit_in_another_process() -> None:
    """Whose sets have another order."""
    program = Path(repeated.__file__)
    done = subprocess.run(
        [sys.executable, program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    there, here = json.loads(done.stdout), json.loads(json.dumps(repeated.all_families()))
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
