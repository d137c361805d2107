"""The image and what starts it: the Dockerfile, compose.yaml and the systemd unit hold what docs/deploy.md promises."""

import fnmatch
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy import dockerfile
from ui.settings import from_environment

ROOT = Path(__file__).resolve().parents[2]
STAGES = dockerfile.read(ROOT / "Dockerfile")
BUILD, FINAL = STAGES
UNIT = (ROOT / "deploy/whisper-merge.service").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_reader_of_dockerfiles(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        "ARG X=1\nFROM a AS first\n# no\nRUN one \\\n    # nor this\n    && two\n"
        'FROM b\nENV A=1 \\\n  B="2 3"\nCMD ["x", "y"]\n'
    )
    first, second = dockerfile.read(file)
    assert (first.base, first.name, first.all("RUN")) == ("a", "first", ["one && two"])
    assert second.environment == {"A": "1", "B": "2 3"}
    assert second.command("CMD") == ["x", "y"]


def test_linter_is_content() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint has no wheel for this machine")
    run = subprocess.run([linter, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_the_app_is_not_root_and_is_looked_after() -> None:
    assert FINAL.all("USER") == ["1000:1000"], "a number, so that an orchestrator can see that it is not root"
    assert FINAL.all("VOLUME") == ['["/data", "/exports", "/models"]']
    (health,) = FINAL.all("HEALTHCHECK")
    assert "/healthz" in health and "deploy.probe" in health


def test_no_tools_in_the_final_stage() -> None:
    commands = " ".join(FINAL.all("RUN"))
    assert not re.search(r"apt|pip|gcc|curl|wget|git", commands)
    assert all("--from=build" in step for step in FINAL.all("COPY")), "what runs was put together in the builder"
    assert any("merger.prebuilt /opt/kernels" in step for step in BUILD.all("RUN"))
    assert any("--require-hashes" in step for step in BUILD.all("RUN"))
    assert any("--without-pip /opt/venv" in step for step in BUILD.all("RUN"))


def test_everything_that_is_written_lies_on_a_volume() -> None:
    environment = FINAL.environment
    for name in ("HOME", "HF_HOME", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "GRADIO_TEMP_DIR", "WHISPER_MERGE_CACHE"):
        assert environment[name].startswith("/data"), name
    assert environment["GRADIO_ANALYTICS_ENABLED"] == "False"
    settings = from_environment({key: value for key, value in environment.items() if key.startswith("WHISPER_MERGE_")})
    assert (str(settings.data), str(settings.export_root)) == ("/data", "/exports")


def test_what_is_copied_exists_and_is_in_the_context() -> None:
    for variant in ("cpu", "cuda"):
        assert f"requirements/{variant}.lock" in TRACKED
    assert "requirements/${VARIANT}.lock /build/packages.lock" in BUILD.all("COPY")


def ignored(path: str) -> bool:
    """What .dockerignore keeps out: the last pattern that fits the path or one of its folders decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        names = [path, *map(str, Path(path).parents)][:-1]
        if any(fnmatch.fnmatch(name, pattern.lstrip("!").removeprefix("**/")) for name in names):
            out = not pattern.startswith("!")
    return out


def test_the_context_holds_what_runs_and_nothing_else() -> None:
    assert not any(map(ignored, ("app.py", "ui/studio.py", "merger/kernels.c", "demo/models/a/config.json")))
    assert not any(map(ignored, ("docs/guide.ru.md", "deploy/entrypoint.sh", "requirements/cpu.lock")))
    assert all(map(ignored, (".git/config", ".env", "tests/conftest.py", "data/history.sqlite", "demo/training/x.py")))


def test_entrypoint_is_executable() -> None:
    (script,) = FINAL.command("ENTRYPOINT")
    path = ROOT / script.removeprefix("/app/")
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0


def test_entrypoint_lays_the_launcher_and_starts_what_it_is_told(tmp_path: Path) -> None:
    script = (ROOT / "deploy/entrypoint.sh").read_text().replace("/opt/triton", str(tmp_path / "brought"))
    (tmp_path / "brought/KEY").mkdir(parents=True)
    (tmp_path / "brought/KEY/cuda_utils.so").write_text("new")
    cache = tmp_path / "cache"
    for kept in ("new", "mine"):
        run = subprocess.run(
            ["sh", "-c", script, "entrypoint", "echo", "started"],
            env={"TRITON_CACHE_DIR": str(cache), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert run.stdout == "started\n"
        assert (cache / "KEY/cuda_utils.so").read_text() == kept
        (cache / "KEY/cuda_utils.so").write_text("mine")


@pytest.mark.parametrize("name", ["gpu", "cpu"])
def test_compose_confines_the_app(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "the network sees it through a proxy only"
    targets = [re.search(r":(/\w+(?::ro)?)$", volume)[1] for volume in service["volumes"]]  # type: ignore[index]
    assert targets == ["/models:ro", "/exports", "/data"]
    assert service["build"]["args"] == {"VARIANT": {"gpu": "cuda", "cpu": "cpu"}[name]}


def test_compose_reserves_gpus_for_one_service_only() -> None:
    (device,) = COMPOSE["services"]["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert "deploy" not in COMPOSE["services"]["cpu"] and COMPOSE["services"]["cpu"]["profiles"] == ["cpu"]


@pytest.mark.parametrize("source", ["compose", "unit"])
def test_settings_that_are_named_are_understood(source: str) -> None:
    """A misspelt WHISPER_MERGE_… would end the start; here it ends the test."""
    if source == "compose":
        named = [service.get("environment", {}) for service in COMPOSE["services"].values()]
        found = {key: str(value) for one in named for key, value in one.items()}
        found["WHISPER_MERGE_DEVICES"] = "all"  # what ${DEVICES:-all} stands for
    else:
        pairs = [pair for line in re.findall(r"^Environment=(.*)$", UNIT, re.MULTILINE) for pair in line.split()]
        found = dict(pair.split("=", 1) for pair in pairs)
    assert any(key.startswith("WHISPER_MERGE_") for key in found)
    from_environment(found)


def test_the_unit_is_hardened() -> None:
    for line in (
        "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "NoNewPrivileges=yes", "CapabilityBoundingSet=",
        "RestrictNamespaces=yes", "RestrictSUIDSGID=yes", "SystemCallFilter=@system-service", "DevicePolicy=closed",
        "UMask=0077",
    ):  # fmt: skip
        assert line in UNIT.splitlines(), line


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    unit = tmp_path / "whisper-merge.service"
    # The paths and the account of the installed app are not on this machine.
    there = UNIT.replace("/opt/whisper-merge/.venv/bin/python", "/bin/sh").replace("=whisper-merge\n", "=nobody\n", 1)
    unit.write_text(re.sub(r"^WorkingDirectory=.*$", "WorkingDirectory=/", there, flags=re.MULTILINE))
    run = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and "whisper-merge.service:" not in run.stderr, run.stderr


def test_proxies_pass_what_the_app_needs() -> None:
    nginx, caddy = ((ROOT / "deploy" / name).read_text() for name in ("nginx.conf", "Caddyfile"))
    assert "proxy_buffering off" in nginx and "flush_interval -1" in caddy
    assert 'X-Forwarded-User ""' in nginx and "-X-Forwarded-User" in caddy
    largest = max(from_environment({}).max_upload_mb, from_environment({}).max_archive_mb)
    for text, pattern in ((nginx, r"client_max_body_size (\d+)m"), (caddy, r"max_size (\d+)MB")):
        assert int(re.search(pattern, text)[1]) >= largest + 1  # type: ignore[index]
