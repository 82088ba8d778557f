"""Every attack that this software is built against has tests that make it; those that stand nowhere else stand here."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorasmith.datasets.layouts.reading import SourceFiles, parse_yaml
from lorasmith.errors import ConfigError, DatasetError, LorasmithError
from lorasmith.queue.verbs import Placement
from lorasmith.web import announcing
from lorasmith.web.announcing import Wishes, choose
from tests.web.conftest import Door
from tests.web.security.team import make_team, pictures
from tests.web.security.test_seeing import being, owned_of
from tests.web.test_gate import routes
from tests.web.tiny_lora import write_lora

ROOT = Path(__file__).parents[3]
ROWS = {
    "network exposure": ("web/security/test_people.py", ("an_open_address_is_refused", "answers_to_its_names")),
    "DNS rebinding": ("web/security/test_requests.py", ("only_looks_like_ours", "headers_of_proxies")),
    "CSRF on localhost": ("web/test_gate.py", ("nothing_is_changed_from_elsewhere", "reading_from_elsewhere")),
    "CSRF by content type": ("web/security/test_requests.py", ("takes_json_and_nothing_else", "null_origin")),
    "missing auth on one route": ("web/test_gate.py", ("every_route_denies",)),
    "user A and user B": ("web/security/test_people.py", ("not_there_for_user_b", "closed_to_a_viewer")),
    "pictures by their hash": ("web/security/test_seeing.py", ("whoever_sees_a_dataset", "caption_that_is_a_hash")),
    "the live stream": ("web/security/test_seeing.py", ("hears_nothing_of_a_private_job", "hands_each_listener")),
    "XSS": ("web/security/test_payloads.py", ("",)),
    "SVG and HTML uploads": (
        "web/security/test_files.py",
        ("pages_are_no_pictures", "polyglot", "blob_that_is_no_picture"),
    ),
    "traversal": ("web/security/test_requests.py", ("no_path_leads_out",)),
    "traversal by files": ("datasets/test_hostile_corpus.py", ("",)),
    "zip slip and bombs": ("datasets/test_import_source.py", ("",)),
    "image bombs": ("web/security/test_files.py", ("would_fill_the_memory",)),
    "pickle": ("bases/test_converting.py", ("no_pickle_runs_anything", "lock_holds", "each_wall_stands_alone")),
    "bad safetensors": ("web/security/test_files.py", ("file_that_lies", "keys_are_names")),
    "bad safetensors headers": ("bases/test_header.py", ("hostile_headers", "length_is_not_believed", "giant_header")),
    "SSRF": ("fetching/test_addresses.py", ("redirects_into_the_network", "means_something_else_the_second_time")),
    "SSRF by webhook": ("web/security/test_table.py", ("a_hostile_webhook",)),
    "command injection": ("web/security/test_table.py", ("nothing_starts_a_shell", "reach_no_command_line")),
    "template, wildcard, regex": ("datasets/captions/test_patterns.py", ("",)),
    "YAML": ("web/security/test_table.py", ("a_billion_laughs",)),
    "code of repositories": ("web/security/test_table.py", ("nothing_starts_a_shell",)),
    "repositories with programs": ("captioners/test_seeing.py", ("",)),
    "secrets": ("test_canary.py", ("",)),
    "secrets over the API": ("web/test_api_keeping.py", ("goes_in_and_never_comes_out",)),
    "supply chain": ("web/test_static.py", ("is_the_released_one", "changed_missing_or_further")),
    "guessing": ("web/security/test_people.py", ("guessing_is_slowed_down",)),
    "links": ("web/security/test_people.py", ("forged_or_old_link", "a_link_shows_one_thing")),
    "audit": ("web/security/test_people.py", ("is_written_down", "cannot_be_forged")),
}
"""By attack, the file and words of the names of the tests that make it."""


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_test_that_attacks(row: str) -> None:
    file, words = ROWS[row]
    path = ROOT / "tests" / file
    names = [node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]
    tests = [name for name in names if name.startswith("test_")]
    assert tests and all(any(word in name for name in tests) for word in words), (row, words)


# Programs and shells


def _calls() -> list[tuple[Path, ast.Call]]:
    files = sorted((ROOT / "src").rglob("*.py"))
    return [
        (file, node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
    ]


def test_nothing_starts_a_shell_or_runs_what_it_has_read() -> None:
    """Programs are started by lists of arguments; nothing is evaluated, unpickled or trusted from a repository."""
    calls = _calls()
    assert len(calls) > 5000
    named = [(file, node, ast.unparse(node.func)) for file, node in calls]
    shells = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "eval", "exec"}
    wrong = [(file.name, name) for file, _, name in named if name in shells]
    for file, node, name in named:
        values = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if values.get("shell", "False") != "False" or values.get("trust_remote_code", "False") != "False":
            wrong.append((file.name, name))
        if name in ("yaml.load", "yaml.load_all") and "Loader" not in values:
            wrong.append((file.name, name))
        if name == "torch.load" and values.get("weights_only") != "True":
            wrong.append((file.name, name))
        if name in ("pickle.load", "pickle.loads", "pickle.Unpickler"):
            wrong.append((file.name, name))
    assert wrong == []


HOSTILE = st.one_of(
    st.sampled_from(
        ["--help", "-o/etc/passwd", "$(touch owned)", "`touch owned`", "; touch owned", "| sh", "a\nb", "a\0b"]
    ),
    st.text(max_size=40),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(name=HOSTILE, word=HOSTILE, prompt=HOSTILE)
def test_values_reach_no_command_line(
    door: Door, tmp_path_factory: pytest.TempPathFactory, name: str, word: str, prompt: str
) -> None:
    """Whatever stands in a recipe travels in a file: a worker is told its folder and nothing else."""
    if not door.studio.datasets():
        door.studio.import_dataset(pictures(tmp_path_factory.mktemp("in") / "cats"), "cats")
    values = {
        "base": "sandbox",
        "max_train_steps": 4,
        "output_name": name,
        "trigger_word": word,
        "sample": {"prompts": [prompt]},
    }
    body = {"dataset": "cats", "config": values, "place": {"held": True}}
    answer = door.client.post("/api/train", json=body, headers={"accept": "application/json"})
    assert answer.status_code in (202, 422), answer.text
    if answer.status_code == 202:
        job = door.studio.job(answer.json()["id"])
        arguments = job.jobs.command(job.folder.path)
        assert str(arguments[-1]) == str(job.folder.path) and job.folder.path.parent == door.studio.home / "jobs"
        assert re.fullmatch(r"[\w.-]+", job.folder.path.name), job.folder.path.name  # no name of a user leads a command
        assert not any(hostile in arguments for hostile in (name, word, prompt) if hostile.startswith("-"))


# Files that are small and become large


def test_a_billion_laughs_are_not_followed(door: Door) -> None:
    from lorasmith.config import read_config_file

    lines = ['a0: &a0 ["lol", "lol", "lol", "lol", "lol", "lol", "lol", "lol", "lol"]']
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    bomb = "\n".join(lines).encode()

    class Files(SourceFiles):
        def __init__(self) -> None:
            self.open_bytes = lambda path: bomb  # type: ignore[method-assign, assignment]

    with pytest.raises(DatasetError, match="aliases"):
        parse_yaml(Files(), "dataset.yaml")
    place = door.studio.home / "bomb.yaml"
    place.write_bytes(bomb)
    with pytest.raises(ConfigError, match="alias"):
        read_config_file(place)


# The webhook


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1/hook", "https://localhost/hook", "https://[::1]/hook", "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/", "https://10.0.0.8/hook", "https://192.168.1.1/hook", "https://100.64.0.1/hook",
        "https://2130706433/hook", "https://0x7f.1/hook", "https://0177.0.0.1/hook", "https://metadata.google.internal@10.0.0.1/",
        "https://[fe80::1%25eth0]/hook", "https://0.0.0.0/hook", "https://hooks.example.org:22/hook",
    ],
)  # fmt: skip
def test_a_hostile_webhook_is_not_told(door: Door, address: str) -> None:
    with pytest.raises(LorasmithError):
        announcing._post(address, {"text": "x"}, False)


def test_a_webhook_that_leads_inside_is_not_followed(door: Door) -> None:
    """Also one's own network is one host: what that redirects to is asked anew."""
    from tests.fetching.loopback import Loopback, redirects, says

    with Loopback() as server, Loopback() as inside:
        heard = inside.at("/secret", says(200, b"{}"))
        led = server.at("/hook", redirects(heard))
        with pytest.raises(LorasmithError):
            announcing._post(led, {"text": "the job is done"}, True)
        assert not [seen for seen in inside.seen if seen.method == "POST"]
        with pytest.raises(ConfigError):
            choose(door.studio.home, Wishes("https:///nobody"))


# Names of others, on every route


def test_jobs_and_models_of_others_are_as_absent_as_what_nobody_has(tmp_path: Path, door: Door) -> None:
    team = make_team(tmp_path / "home")
    team.studio.import_dataset(pictures(tmp_path / "old"), "old")
    row = team.studio.enqueue.train("old", {"base": "sandbox", "max_train_steps": 4}, Placement(held=True))
    with being("bob"):
        owned_of(team).library.add(write_lora(tmp_path / "mascot.safetensors"), None, name="mascot")
    things: dict[str, tuple[str, str, Any]] = {
        "job": (row.id, "19990101-000000-train-x", re.compile(r"^(.*/jobs)/(job|job_id|id)(?=/|$)")),
        "model": ("mascot", "nothing-of-that-name", re.compile(r"^(.*/(?:models|adapters))/(name)(?=/|$)")),
    }
    seen = 0
    for kind, (theirs, ghost, pattern) in things.items():
        for method, path in routes(door):
            if not pattern.search(path) or method == "HEAD":
                continue
            asked = re.sub(r"/verb$", "/pause", path)
            answers = []
            for name in (theirs, ghost):
                address = pattern.sub(lambda found, name=name: f"{found[1]}/{name}", asked)
                answer = team["cyd"].request(method, address, json={} if method != "GET" else None)
                answers.append((answer.status_code, answer.text.replace(name, "X")))
            assert answers[0] == answers[1], (kind, method, path, answers)
            assert answers[0][0] >= 400, (kind, method, path)
            seen += 1
    assert seen > 25
