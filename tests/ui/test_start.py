"""What a server loads before anybody asks it for anything."""

import subprocess
import sys

from ui.settings import ROOT

SCRIPT = """
import pathlib, sys, tempfile
import app
from ui.settings import Settings
from ui.studio import build_app
from ui.workshop import Workshop
root = pathlib.Path(tempfile.mkdtemp())
settings = Settings(data=root / "data", export_root=root / "exports")
workshop = Workshop(settings, executors=[])
app.launch_options(settings, build_app(settings, workshop=workshop).workshop)
workshop.session("somebody")
workshop.close()
print([name for name in ("torch", "transformers", "librosa") if name in sys.modules])
"""


def test_the_server_computes_nothing_and_loads_nothing_to_compute_with() -> None:
    """The models live in processes of their own: torch here too would be 190 MB and seconds of every start."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr
