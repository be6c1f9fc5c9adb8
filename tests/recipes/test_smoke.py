"""The whole path, from a dump to a reply, as a script; the last test of the suite."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.recipe
@pytest.mark.parametrize("data", ["real", "mini"])
def test_the_smoke_recipe_ends_in_a_reply(data: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    shared = request.getfixturevalue("shared") if data == "real" else tmp_path / "absent"
    steps = {"real": "300", "mini": "20"}[data]
    environment = {
        **os.environ,
        "STEPS": steps,
        "DIALOGPT": f"{sys.executable} -m dialogpt",
        "DIALOGPT_SHARED": str(shared),
    }
    command = [str(ROOT / "recipes" / "smoke.sh"), str(tmp_path / "work")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    reply = done.stdout.splitlines()[-1]
    assert reply.strip()
    assert "best validation perplexity" in done.stdout
    checkpoint = tmp_path / "work" / "run" / "best" / "model.safetensors"
    assert checkpoint.is_file()
