"""What the job scripts of experiments/slurm check, with an `srun` that is none."""
import os
import subprocess

import pytest
from program import FLOAT, SOURCE, write_settings

TRAIN = SOURCE / "experiments/slurm/train"


def imitate_srun(folder, answer):
    """The environment of a job with an `srun` that says something and succeeds."""
    srun = folder / "srun"
    srun.write_text(f"#!/bin/sh\necho {answer}\n")
    srun.chmod(0o755)
    return {"SLURM_JOB_ID": "1", "PATH": f"{folder}:{os.environ['PATH']}", "LAMINA": FLOAT}


@pytest.mark.parametrize("arguments, changes, code, message", [
    (["{settings}"], {}, 64, "usage: "),
    (["{settings}", "{folder}/run.h5"], {"SLURM_JOB_ID": ""}, 64, "no Slurm job"),
    (["{folder}/none.yaml", "{folder}/run.h5"], {}, 66, "none.yaml"),
    (["{settings}", "{folder}/run"], {}, 64, "does not end in .h5"),
    (["{settings}", "{folder}/none/run.h5"], {}, 73, "none/run.h5"),
    (["{settings}", "{folder}/run.h5", "--force"], {}, 64, "--force"),
    (["{settings}", "{folder}/run.h5", "--output=b.h5"], {}, 64, "--output=b.h5"),
    (["{settings}", "{folder}/run.h5"], {"LAMINA": "/none/lamina"}, 69, "/none/lamina"),
    (["{settings}", "{folder}/run.h5"], {}, 69, "--mpi=pmix"),
])
def test_wrong_arguments_are_told(tmp_path, arguments, changes, code, message):
    names = {"settings": write_settings(tmp_path), "folder": tmp_path}
    environment = {**imitate_srun(tmp_path, "none pmi2" if "pmix" in message else "none pmix"),
                   **{name: value.format(**names) for name, value in changes.items()}}
    done = subprocess.run([TRAIN, *(word.format(**names) for word in arguments)],
                          capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1) and message in done.stderr, done.stderr


def test_a_launch_that_fails_unnoticed_is_told(tmp_path):
    """Slurm 22.05 gives 0 for some."""
    done = subprocess.run([TRAIN, write_settings(tmp_path), tmp_path / "run.h5"], capture_output=True,
                          text=True, env=imitate_srun(tmp_path, "pmix"))
    assert done.returncode == 71 and "run.h5" in done.stderr, done.stderr
