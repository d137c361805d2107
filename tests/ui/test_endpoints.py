"""The endpoints as a script meets them, through a real `gradio_client` over a real port."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from merger.registry import methods
from tests.ui.conftest import write_tone
from tests.ui.server import client_of, serving
from ui.settings import Settings

RECIPE = {
    "method": "ties",
    "parameters": {"ties_density": 0.85, "encoder_weights": [0.6, 0.4], "decoder_weights": [0.5, 0.5]},
}


@pytest.fixture(scope="module")
def running(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    root = tmp_path_factory.mktemp("server")
    settings = Settings(
        data=root / "data",
        export_root=root / "exports",
        demo_models=demo_folder / "models",
        samples=demo_folder / "samples",
        device="cpu",
        hub=False,
    )
    with serving(settings) as (address, workshop):
        yield address, workshop


@pytest.fixture(scope="module")
def client(running: tuple[str, Any]) -> Client:
    return client_of(running[0])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tone(tmp_path_factory.mktemp("clip") / "звук.wav", pitch=260.0))


def test_the_named_endpoints_are_those_and_no_others(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/methods", "/merge", "/compare", "/export", "/status"}


def test_methods_are_the_registry(client: Client) -> None:
    told = client.predict(api_name="/methods")
    assert [method["name"] for method in told] == list(methods())
    ties = next(method for method in told if method["name"] == "ties")
    assert ties["ru"]["parameters"][0]["key"] == "ties_density"
    assert ties["en"]["parameters"][0]["default"] == 0.8


def test_merge_returns_digest_and_summary(client: Client) -> None:
    told = client.predict(RECIPE, api_name="/merge")
    assert told["recipe"] == RECIPE and told["performed"] == "ties"
    assert len(told["digest"]) == 64
    assert "0,85" in told["summary"]["ru"] and "0.85" in told["summary"]["en"]
    assert client.predict({"method": "ties"}, api_name="/merge")["recipe"]["parameters"] == {
        "ties_density": 0.8,
        "encoder_weights": [0.6, 0.4],
        "decoder_weights": [0.4, 0.6],
    }


def test_compare_gives_three_transcripts_and_the_merge_follows_the_recipe(client: Client, clip: str) -> None:
    found = {}
    for alpha in (1.0, 0.5, 0.0):
        recipe = {"method": "direct", "parameters": {"direct_alpha": alpha}}
        found[alpha] = client.predict(handle_file(clip), recipe, None, api_name="/compare")
    told = found[1.0]
    assert set(told) >= {"a", "merged", "b", "recipe"}
    assert set(told["a"]) == {"text", "seconds", "wer", "cer"}
    assert told["merged"]["text"] == told["a"]["text"]
    assert found[0.0]["merged"]["text"] == told["b"]["text"] != told["a"]["text"]
    assert {told[side][score] for side in ("a", "merged", "b") for score in ("wer", "cer")} == {None}


def test_compare_scores_against_a_reference(client: Client, clip: str) -> None:
    told = client.predict(audio=handle_file(clip), recipe=RECIPE, reference="раз два", api_name="/compare")
    assert all(isinstance(told[side]["wer"], float) for side in ("a", "merged", "b"))
    assert told["recipe"] == RECIPE


def test_an_export_runs_as_a_job_that_status_follows(client: Client, running: tuple[str, Any]) -> None:
    begun = client.predict({"method": "slerp", "parameters": {"slerp_t": 0.3}}, "my merge", api_name="/export")
    assert begun["folder"] == "my merge"
    deadline = time.monotonic() + 60
    while (told := client.predict(begun["job"], api_name="/status"))["state"] not in {"done", "failed"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert told["state"] == "done", told["error"]
    folder = running[1].settings.export_root / "my merge"
    stored = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    assert stored["recipe"]["parameters"] == {"slerp_t": 0.3}
    assert (folder / "model.safetensors").stat().st_size > 10_000


def test_status_of_the_worker(client: Client) -> None:
    assert client.predict(None, api_name="/status")["alive"] is True


@pytest.mark.parametrize(
    ("recipe", "code"),
    [
        ({"method": "direct", "parameters": {"direct_alpha": 1.5}}, "BAD_PARAMETER"),
        ({"method": "direct", "parameters": {"slerp_t": 0.5}}, "BAD_PARAMETER"),
        ({"method": "magic"}, "BAD_PARAMETER"),
        ({"parameters": {}}, "BAD_RECIPE"),
    ],
)
def test_bad_recipes_get_a_coded_sentence(client: Client, recipe: dict[str, Any], code: str) -> None:
    with pytest.raises(AppError) as refused:
        client.predict(recipe, api_name="/merge")
    assert str(refused.value).startswith(code)
    assert "Traceback" not in str(refused.value)


@pytest.mark.parametrize(
    ("endpoint", "given"),
    [
        ("/compare", {"audio": None}),
        ("/compare", {"audio": {"path": 7, "meta": {"_type": "gradio.FileData"}}}),
        ("/compare", {"reference": {"x": 1}}),
        ("/compare", {"model_a": {"x": 1}}),
        ("/merge", {"model_b": ["b"]}),
        ("/merge", {"base": 3}),
        ("/merge", {"model_a": "a\0b"}),
        ("/export", {"name": {"x": 1}}),
    ],
)
def test_arguments_of_another_kind_get_a_coded_sentence(
    client: Client, clip: str, caplog: pytest.LogCaptureFixture, endpoint: str, given: dict[str, Any]
) -> None:
    usual = {"recipe": RECIPE, **({"audio": handle_file(clip)} if endpoint == "/compare" else {})}
    (argument,) = given
    with pytest.raises(AppError) as refused:
        client.predict(**{**usual, **given}, api_name=endpoint)
    assert str(refused.value).startswith(f"BAD_ARGUMENT: The argument “{argument}”")
    assert not [record for record in caplog.records if record.exc_info]


def test_a_file_that_is_no_audio(client: Client, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"<html>not found</html>")
    with pytest.raises(AppError, match=r"BAD_AUDIO.*song\.mp3"):
        client.predict(handle_file(str(tmp_path / "song.mp3")), RECIPE, None, api_name="/compare")


def test_an_export_cannot_leave_its_root(client: Client) -> None:
    for name in ("../out", "/tmp/out", "a/b", "..", ".hidden"):
        with pytest.raises(AppError, match="BAD_RECIPE"):
            client.predict(RECIPE, name, api_name="/export")


def test_models_outside_the_roots_are_refused(client: Client) -> None:
    with pytest.raises(AppError, match="PATH_NOT_ALLOWED"):
        client.predict(RECIPE, "/etc", "b", api_name="/merge")


def test_an_unknown_job(client: Client) -> None:
    with pytest.raises(AppError, match="NOT_FOUND"):
        client.predict("nonsense", api_name="/status")


def test_many_clients_at_once_each_get_their_own(running: tuple[str, Any], clip: str) -> None:
    def ask(alpha: float) -> tuple[float, dict[str, Any]]:
        own = client_of(running[0])
        recipe = {"method": "direct", "parameters": {"direct_alpha": alpha}}
        return alpha, own.predict(handle_file(clip), recipe, None, api_name="/compare")

    with ThreadPoolExecutor(8) as pool:
        for alpha, told in pool.map(ask, [0.0, 1.0] * 4):
            assert told["recipe"]["parameters"]["direct_alpha"] == alpha
            assert told["merged"]["text"] == told["a" if alpha else "b"]["text"]


def test_another_sites_page_is_refused_and_headers_are_set(running: tuple[str, Any]) -> None:
    address = running[0]
    with urllib.request.urlopen(address) as page:
        headers = page.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    request = urllib.request.Request(
        f"{address}/gradio_api/component_server/", data=b"{}", headers={"Origin": "https://evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403


def test_a_clip_is_served_to_its_address_only_and_in_ranges(running: tuple[str, Any]) -> None:
    address, workshop = running
    clip_id = workshop.clips.samples[0].id
    good = f"{address}/{workshop.clips.address('somebody', clip_id)}"
    with urllib.request.urlopen(good) as sound:
        body = sound.read()
    assert body[:4] == b"RIFF" and len(body) == 44 + 2 * 24_000
    with urllib.request.urlopen(urllib.request.Request(good, headers={"Range": "bytes=44-47"})) as part:
        assert (part.status, part.read()) == (206, body[44:48])
        assert part.headers["content-range"] == f"bytes 44-47/{len(body)}"
    for bad in (good.replace("somebody", "nobody"), good[:-6] + "zz.wav"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(bad)
        assert refused.value.code == 404


def test_uploads_of_scripts_do_not_stay_for_ever(settings: Settings) -> None:
    from ui.studio import build_app

    app = build_app(settings)
    try:
        every, age = app.delete_cache
        assert 0 < every <= age <= 86_400
    finally:
        app.workshop.close()


def test_the_app_respects_gradios_port(tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1", "WHISPER_MERGE_DATA": str(tmp_path / "data"),
    }  # fmt: skip
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" INT; exec "$0" app.py', sys.executable], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/studio/health") as answer:
                    assert json.load(answer)["status"] == "ok"
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.2)
    finally:
        process.terminate()
        assert process.wait(120) == 0


def test_a_misspelt_setting_ends_the_start_with_a_sentence() -> None:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "en_US.UTF-8", "WHISPER_MERGE_MAX_UPLAOD_MB": "5"}
    command = [sys.executable, "app.py"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error BAD_SETTING: There is no setting WHISPER_MERGE_MAX_UPLAOD_MB.")
    assert "Traceback" not in ended.stderr
