"""What the command line can do, the API can do: every command has its route, or a reason why it has none."""

from __future__ import annotations

from collections.abc import Iterator

import click

from lorasmith.cli.app import cli
from tests.web.conftest import Door
from tests.web.test_gate import routes

ROUTES = {
    "import": "POST /api/datasets",
    "sources list": "GET /api/sources",
    "sources show": "GET /api/sources",
    "sources unfinished": "GET /api/sources/unfinished",
    "datasets": "GET /api/datasets",
    "dataset list": "GET /api/datasets",
    "dataset history": "GET /api/datasets/{name}/history",
    "dataset diff": "GET /api/datasets/{ref}/diff",
    "dataset undo": "POST /api/datasets/{name}/undo",
    "dataset redo": "POST /api/datasets/{name}/redo",
    "dataset restore": "POST /api/datasets/{ref}/restore",
    "dataset branch": "POST /api/datasets/{ref}/branch",
    "dataset drop": "DELETE /api/datasets/{ref}",
    "dataset gc": "POST /api/garbage/collect",
    "dataset ledger": "GET /api/datasets/{ref}/ledger",
    "dataset select": "GET /api/datasets/{ref}/select",
    "dataset selections": "GET /api/datasets/{name}/selections",
    "dataset stats": "GET /api/datasets/{ref}/statistics",
    "dataset buckets": "GET /api/datasets/{ref}/buckets",
    "dataset duplicates": "GET /api/datasets/{ref}/duplicates",
    "dataset see": "GET /api/datasets/{ref}/see/{trainer}",
    "dataset edit": "POST /api/datasets/{ref}/edit",
    "dataset pictures": "POST /api/datasets/{ref}/tools/{tool}",
    "dataset rename": "POST /api/datasets/{ref}/rename",
    "dataset references": "POST /api/datasets/{ref}/references",
    "dataset set-references": "PUT /api/datasets/{ref}/references/{item}",
    "dataset swap-references": "POST /api/datasets/{ref}/swap-references",
    "dataset leave-out": "POST /api/datasets/{ref}/leave-out",
    "dataset role": "POST /api/datasets/{ref}/role",
    "dataset repeats": "POST /api/datasets/{ref}/repeats",
    "dataset split": "POST /api/datasets/{ref}/split",
    "dataset balance": "POST /api/datasets/{ref}/balance",
    "dataset export": "POST /api/datasets/{ref}/export",
    "dataset report": "GET /api/datasets/{ref}/report",
    "check": "GET /api/datasets/{ref}/check",
    "caption": "POST /api/datasets/{ref}/caption",
    "captions": "GET /api/datasets/{ref}/captions",
    "bases add": "POST /api/bases",
    "bases assemble": "PUT /api/bases/{name}/parts",
    "bases answer": "PUT /api/bases/{name}/answers/{question}",
    "bases catalogue": "GET /api/bases/catalogue",
    "bases forget": "DELETE /api/bases/{name}",
    "bases list": "GET /api/bases",
    "bases show": "GET /api/bases/{name}",
    "families": "GET /api/bases/families",
    "train": "POST /api/train",
    "calculate": "POST /api/calculate",
    "resume": "POST /api/jobs/{job}/do/{verb}",
    "queue back": "POST /api/jobs/{job}/do/{verb}",
    "queue cancel": "POST /api/jobs/{job}/do/{verb}",
    "queue clone": "POST /api/jobs/{job}/clone",
    "queue drain": "POST /api/lanes/drain",
    "queue finish": "POST /api/jobs/{job}/do/{verb}",
    "queue front": "POST /api/jobs/{job}/do/{verb}",
    "queue hold": "POST /api/jobs/{job}/hold",
    "queue list": "GET /api/jobs",
    "queue pause": "POST /api/jobs/{job}/do/{verb}",
    "queue priority": "POST /api/jobs/{job}/priority",
    "queue release": "POST /api/jobs/{job}/do/{verb}",
    "queue remedies": "GET /api/jobs/{job}/remedies",
    "queue remedy": "POST /api/jobs/{job}/remedies/{remedy}",
    "queue resume": "POST /api/jobs/{job}/do/{verb}",
    "queue retry": "POST /api/jobs/{job}/do/{verb}",
    "queue show": "GET /api/jobs/{job}",
    "jobs list": "GET /api/jobs",
    "jobs log": "GET /api/jobs/{job}/log",
    "jobs pause": "POST /api/jobs/{job}/do/{verb}",
    "jobs sample": "POST /api/jobs/{job}/do/{verb}",
    "jobs save": "POST /api/jobs/{job}/do/{verb}",
    "jobs show": "GET /api/jobs/{job}",
    "jobs stop": "POST /api/jobs/{job}/do/{verb}",
    "generate": "POST /api/generate",
    "inspect": "GET /api/adapters/{name}",
    "certify": "POST /api/certify",
    "lora inspect": "GET /api/adapters/{name}",
    "lora diff": "POST /api/toolbox/diff",
    "lora interfere": "POST /api/toolbox/interfere",
    "lora use": "POST /api/toolbox/use",
    **{f"lora {tool}": "POST /api/toolbox/{verb}" for tool in ("convert", "merge", "resize", "scale")},
    **{f"lora {tool}": "POST /api/toolbox/{verb}" for tool in ("average", "bake", "edit", "extract")},
    "users add": "POST /api/users",
    "users list": "GET /api/users",
    "users password": "PUT /api/users/{name}/password",
    "users remove": "DELETE /api/users/{name}",
    "users role": "PUT /api/users/{name}/role",
    "secrets forget": "DELETE /api/secrets/{service}",
    "secrets list": "GET /api/secrets",
    "secrets set": "PUT /api/secrets/{service}",
    "consents list": "GET /api/consents",
    "consents withdraw": "DELETE /api/consents/{notice}",
    "doctor": "GET /api/doctor",
}
WITHOUT = {
    "bases convert": "opens a pickle of the server's disk in a process without rights; whoever may do that sits there",
    "bases scan": "walks through folders of the server's disk",
    "queue fsck": "compares the database with the folders, and makes it anew, while no server uses it",
    "queue run": "a server that answers runs the queue itself",
    "web": "is the server",
    "users key": "a key is shown once, where nobody else sees it; answers over the network are kept for a day",
    "demo": "the first page has it as a button",
    "completion": "is about a shell",
}


def commands(command: click.Command, context: click.Context, before: tuple[str, ...] = ()) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield " ".join(before)
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, context, (*before, name))


def test_every_command_has_a_route_or_a_reason(door: Door) -> None:
    there = set(commands(cli, click.Context(cli)))
    assert there - ROUTES.keys() - WITHOUT.keys() == set(), "these have neither a route nor a reason"
    assert (ROUTES.keys() | WITHOUT.keys()) - there == set(), "these are no commands any more"
    assert ROUTES.keys() & WITHOUT.keys() == set() and all(len(reason) > 10 for reason in WITHOUT.values())
    served = {
        f"{method} {path}"
        for path, verbs in door.client.app.openapi()["paths"].items()  # type: ignore[attr-defined]
        for method in map(str.upper, verbs)
    }
    assert set(ROUTES.values()) - served == set(), "these routes are not there"
    assert len(routes(door)) > len(served)
