"""Carries out the Dockerfile without a container engine: its own steps in a clean folder, then the app as it would run.

    python -m deploy.dry_run FOLDER [--variant cpu|cuda] [--torch-cpu PLACE] [--port 7899]

What git has committed is the build context. RUN, COPY and ENV are carried out as the Dockerfile has them, with /opt,
/build, /app, /data, /exports and /models below FOLDER; steps that change the machine (apt-get, useradd) are named and
left out, so a C compiler has to be there, and first on PATH a python3 that every user may run. Then the app starts with
that environment, as uid 1000 without capabilities and with everything but its volumes read-only where this is root on
Linux, is asked for its health and for one comparison, has its code overwritten in vain, and is stopped. Exit status 0
if all of that went as it should.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy import dockerfile, probe

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("/opt", "/build", "/app", "/data", "/exports", "/models")
VOLUMES = ("data", "exports")
OF_THE_MACHINE = ("apt-get", "useradd")
START_SECONDS = 120
CLIP, SPOKEN = "demo/samples/formal-news.ogg", "Сегодня утром в центре столицы открыли новый пешеходный мост."


def below(folder: Path, text: str) -> str:
    """`text` with the image's places below the folder."""
    for place in PLACES:
        text = _replace(text, place, str(folder) + place)
    return text


def _replace(text: str, place: str, real: str) -> str:
    return re.sub(rf"(?<![\w/.]){re.escape(place)}(?=[/:\s\"']|$)", real, text)


def build(stages: list[dockerfile.Stage], folder: Path, arguments: dict[str, str]) -> dict[str, str]:
    """Carries the stages out; returns the final environment."""
    context = folder / "context"
    context.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=context, input=archive, check=True)
    environment: dict[str, str] = {}
    for stage in stages:
        directory = folder
        for step in stage.instructions:
            if step.keyword == "ARG":
                name, _, default = step.text.partition("=")
                arguments.setdefault(name, default)
            elif step.keyword == "WORKDIR":
                directory = Path(below(folder, step.text))
                directory.mkdir(parents=True, exist_ok=True)
            elif step.keyword == "COPY":
                _copy(step.text, context, folder, directory, arguments)
            elif step.keyword == "RUN":
                _run(step.text, folder, directory, arguments)
        environment = {name: below(folder, value) for name, value in stage.environment.items()}
    for place in PLACES:
        Path(below(folder, place)).mkdir(exist_ok=True)
    return environment


def _copy(text: str, context: Path, folder: Path, directory: Path, arguments: dict[str, str]) -> None:
    words = [word for word in text.split() if not word.startswith("--")]
    if "--from=" in text:  # one folder stands for the root of every stage
        print(f"  COPY {text}: is there already")
        return
    for name, value in arguments.items():
        words = [word.replace(f"${{{name}}}", value) for word in words]
    *sources, target = words
    place = Path(below(folder, target)) if target.startswith("/") else directory / target
    for source in sources:
        if (context / source).is_dir():
            shutil.copytree(context / source, place, dirs_exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(context / source, place)
    print(f"  COPY {text}")


def _run(text: str, folder: Path, directory: Path, arguments: dict[str, str]) -> None:
    if text.startswith(OF_THE_MACHINE):
        print(f"  RUN {text}\n    left out: it would change this machine")
        return
    print(f"  RUN {text}", flush=True)
    subprocess.run(["sh", "-ec", below(folder, text)], cwd=directory, check=True, env={**os.environ, **arguments})


def confined(folder: Path, command: list[str]) -> list[str]:
    """The command as uid 1000 without capabilities, all file systems read-only but /tmp and the volumes."""
    script = (
        "set -e; mount --make-rprivate /; "
        + "".join(f'mount --bind "$0/{name}" "$0/{name}"; ' for name in VOLUMES)
        + 'mount -o remount,ro,bind /; mount -t tmpfs -o mode=1777 tmpfs "$0/tmp"; export TMPDIR="$0/tmp"; '
        + 'cd "$0/app"; exec setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all --bounding-set=-all '
        + '--no-new-privs "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, str(folder), *command]


def serve(folder: Path, stage: dockerfile.Stage, environment: dict[str, str], port: int) -> None:
    """Starts the app, asks it, stops it. Raises RuntimeError for whatever is not as it should be."""
    command = [below(folder, word) for word in stage.command("ENTRYPOINT") + stage.command("CMD")]
    path = f"{folder}/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {**environment, "PATH": path, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    root = os.getuid() == 0 and shutil.which("unshare") and shutil.which("setpriv")
    if root:
        (folder / "tmp").mkdir()
        for name in VOLUMES:
            os.chown(folder / name, 1000, 1000)
        command = confined(folder, command)
    else:
        print("  not root: the app runs as you are, and nothing is made read-only")
    log = folder / "app.log"
    with log.open("w") as output:
        app = subprocess.Popen(command, cwd=folder / "app", env=environment, stdout=output, stderr=output)
    try:
        health = stage.all("HEALTHCHECK")[-1].split("CMD", 1)[1]
        address = health.split('"')[-2].replace("7860", str(port))
        print(f"  asking {address}", flush=True)
        if probe.main([address, str(START_SECONDS)]):
            raise RuntimeError(f"no answer:\n{log.read_text()[-3000:]}")
        _compare(folder, port)
        if root:
            _look_at(app.pid, folder)
    finally:
        app.send_signal(signal.SIGTERM)
        status = app.wait(60)
    if status != 0:
        raise RuntimeError(f"stopping ended with {status}:\n{log.read_text()[-3000:]}")


def _compare(folder: Path, port: int) -> None:
    question = (
        "import sys; from gradio_client import Client, handle_file; "
        "told = Client(sys.argv[1], verbose=False).predict(handle_file(sys.argv[2]), {'method': 'ties'}, sys.argv[3], "
        "api_name='/compare'); print('  A wrote:', told['a']['text'], 'WER', told['a']['wer']); "
        "sys.exit(not told['merged']['text'])"
    )
    python = folder / "opt/venv/bin/python"
    clip = folder / "app" / CLIP
    address = f"http://127.0.0.1:{port}"
    subprocess.run([python, "-c", question, address, clip, SPOKEN], check=True, cwd=tempfile.gettempdir())


def _look_at(process: int, folder: Path) -> None:
    """What the running process may do, and that its own code is out of its reach."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    found = {name: status[name].split()[0] for name in ("Uid", "CapEff", "NoNewPrivs")}
    print(f"  the process: {found}")
    if found != {"Uid": "1000", "CapEff": "0" * 16, "NoNewPrivs": "1"}:
        raise RuntimeError(f"the process may do more than it should: {found}")
    inside = ["nsenter", "--mount", "--target", str(process), "setpriv", "--reuid", "1000", "--clear-groups"]
    for place in ("app/app.py", "opt/kernels", "opt/venv"):
        written = subprocess.run([*inside, "touch", f"{folder}/{place}"], check=False, capture_output=True, text=True)
        if written.returncode == 0 or "Read-only file system" not in written.stderr:
            raise RuntimeError(f"{place} is not read-only: {written.stderr}")
    print("  its code, packages and kernels are on a read-only file system")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.dry_run", allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--variant", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--torch-cpu", help="page or folder with torch's CPU wheels")
    parser.add_argument("--port", type=int, default=7899)
    given = parser.parse_args(words)
    folder = given.folder.resolve()
    if folder.exists():
        print(f"{folder} exists already", file=sys.stderr)
        return 2
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    stages = dockerfile.read(ROOT / "Dockerfile")
    arguments = {"VARIANT": given.variant} | ({"TORCH_CPU": given.torch_cpu} if given.torch_cpu else {})
    try:
        print("building", flush=True)
        environment = build(stages, folder, arguments)
        print("running")
        serve(folder, stages[-1], environment, given.port)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print("all steps went as they should")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
