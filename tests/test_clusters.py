"""docs/clusters.md: its scripts run with stand-ins of SLURM, its YAML reads, its flags exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from archgrad.cli.sweep import sweep_command

PAGE = Path(__file__).parent.parent / "docs" / "clusters.md"
TOOLS = ("scontrol", "ray", "torchrun", "archgrad", "sleep")
STAND_IN = '#!/bin/bash\necho "$(basename "$0") $*" >> "$LOG"\n'
SLURM = {
    "SLURM_JOB_ID": "12345678",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_GPUS_ON_NODE": "4",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def ran(script: str, place: Path, **environment: str) -> list[str]:
    """What a batch script called; a fake srun runs what it is given on this machine."""
    place.mkdir(exist_ok=True)
    for tool in TOOLS:
        (place / tool).write_text(STAND_IN)
    (place / "scontrol").write_text("#!/bin/bash\nprintf 'n1\\nn2\\n'\n")
    (place / "srun").write_text(f'{STAND_IN}while [[ $1 == --* ]]; do shift; done\n"$@"\n')
    for tool in (*TOOLS, "srun"):
        (place / tool).chmod(0o755)
    path = f"{place}{os.pathsep}{os.environ['PATH']}"
    log = place / "log"
    log.unlink(missing_ok=True)
    script = script.replace("/shared/runs", str(place)) + "\nwait\n"
    subprocess.run(
        ["bash", "-euc", script],
        env={**SLURM, **environment, "PATH": path, "LOG": str(log)},
        check=True,
    )
    return log.read_text().splitlines()


pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def test_one_search_on_all_gpus_of_a_machine(tmp_path: Path) -> None:
    script, _ = blocks("bash")
    out = tmp_path / "search-12345678"
    called = f"torchrun --nproc-per-node 4 -m archgrad search --out {out} --data cifar10"
    assert any(line.startswith(called) for line in ran(script, tmp_path))
    out.mkdir()
    (out / "config.yaml").touch()
    resumed = f"torchrun --nproc-per-node 4 -m archgrad search --resume {out}"
    assert resumed in ran(script, tmp_path)


def test_a_sweep_on_two_machines_begins_the_cluster_and_joins_it(tmp_path: Path) -> None:
    _, script = blocks("bash")
    lines = ran(script, tmp_path)
    assert "ray start --head --port=25678 --block" in lines
    assert "ray start --address=n1:25678 --block" in lines
    assert any("--nodes=1 --ntasks=1 --exclude=n1 ray start" in line for line in lines)
    (sweep,) = (line for line in lines if line.startswith("archgrad sweep"))
    assert sweep.endswith("--vary seed=0,1,2,3,4,5,6,7 --pool ray --address n1:25678 --gpus 1")
    alone = ran(script, tmp_path, SLURM_JOB_NUM_NODES="1")
    assert not any("ray start --address" in line for line in alone)
    out = tmp_path / "sweep-12345678"
    out.mkdir()
    (out / "sweep.yaml").touch()
    assert any(
        f"archgrad sweep --resume {out} --pool ray" in line for line in ran(script, tmp_path)
    )


def test_the_jobs_of_kubernetes_are_yaml_that_begins_and_goes_on(tmp_path: Path) -> None:
    ray, job = (yaml.safe_load(text) for text in blocks("yaml"))
    assert (ray["kind"], job["kind"]) == ("RayJob", "Job")
    (worker,) = ray["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert worker["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4
    entry = ray["spec"]["entrypoint"].removeprefix("sh -c '").removesuffix("'")
    (command,) = job["spec"]["template"]["spec"]["containers"][0]["args"]
    for text in (entry, command):
        script = text.replace("/shared", str(tmp_path))
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / "sweep.yaml").unlink(missing_ok=True)
        assert any("sweep --out s --data" in line for line in ran(script, tmp_path))
        (tmp_path / "s" / "sweep.yaml").touch()
        assert any("sweep --resume s --pool" in line for line in ran(script, tmp_path))


def test_every_flag_of_a_sweep_on_the_page_exists() -> None:
    known = {"--resume", "--out", "--vary", "--trials"} | {
        flag
        for parameter in sweep_command.__signature__.parameters.values()  # type: ignore[attr-defined]
        for flag in getattr(parameter.default, "param_decls", None) or ()
    }
    commands = re.findall(r"archgrad sweep ([^;`\n]*(?:\\\n[^`\n]*)?)", PAGE.read_text("utf-8"))
    flags = {flag for command in commands for flag in re.findall(r"--[a-z-]+", command)}
    assert {"--pool", "--address", "--vary"} <= flags
    assert flags <= known
