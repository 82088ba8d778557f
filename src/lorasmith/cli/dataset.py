"""dataset: the group of everything that can be done to a dataset besides importing, checking and captioning it."""

from __future__ import annotations

from typing import ClassVar

import click

from lorasmith.cli.app import Commands, Table
from lorasmith.cli.session import Session, shared_options

DATASET_COMMANDS: Table = {
    "Versions": {
        "list": ("versions", "list_datasets", "List the datasets with their present versions."),
        "history": ("versions", "history", "Draw the versions of a dataset as a tree."),
        "diff": ("differing", "diff", "Show what changed between two versions."),
        "undo": ("versions", "undo", "Go back to what the present version was made from."),
        "redo": ("versions", "redo", "Take back an undo."),
        "restore": ("versions", "restore", "Make an old version the present one again."),
        "branch": ("versions", "branch", "Begin a new dataset with a version of another."),
        "drop": ("cleaning", "drop", "Remove a version, or a whole dataset."),
        "gc": ("cleaning", "gc", "Say what no version needs, and free it."),
    },
    "Look": {
        "ledger": ("choosing", "ledger", "Say what became of every file."),
        "select": ("choosing", "select", "List the pictures that a query means."),
        "selections": ("choosing", "selections", "List the saved selections of a dataset."),
        "stats": ("figures", "stats", "Count pictures, tags, lengths, shapes and files."),
        "buckets": ("figures", "buckets", "Show the buckets that pictures land in, and the steps."),
        "duplicates": ("looking", "duplicates", "Find pictures that are there more than once."),
        "see": ("looking", "see", "Show what a trainer would really see."),
    },
    "Edit": {
        "edit": ("editing", "edit", "Edit captions in bulk."),
        "pictures": ("retouching", "pictures", "Use an image tool on pictures."),
        "rename": ("retouching", "rename", "Name pictures by number."),
        "references": ("pairing", "references", "Give pictures their references, from a folder or ZIP by name."),
        "set-references": ("pairing", "set_references", "Set the references of one picture, in their order."),
        "swap-references": ("pairing", "swap_references", "Let pictures and their references change places."),
        "leave-out": ("roles", "leave_out", "Make a version without some pictures."),
        "role": ("roles", "role", "Make pictures training, validation or regularisation pictures."),
        "repeats": ("roles", "repeats", "Set how often an epoch shows pictures."),
        "split": ("roles", "split", "Hold pictures out for validation."),
        "balance": ("roles", "balance", "Even out how often concepts are shown."),
    },
    "Ship": {
        "export": ("shipping", "export", "Write a version in the layout of another program."),
        "report": ("shipping", "report", "Write one HTML page about a version."),
    },
}


class DatasetCommands(Commands):
    """Loads the module of a command when it is called."""

    sections: ClassVar[Table] = DATASET_COMMANDS


@click.group(
    "dataset",
    cls=DatasetCommands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@shared_options
@click.pass_context
def dataset(context: click.Context) -> None:
    """Look into datasets, edit them, undo, export.

    Without a command it lists them. DATASET is a name, which means the present version, or name@number. Every edit
    makes a new version; the old one stays.
    """
    if context.invoked_subcommand is None:
        from lorasmith.cli.versions import list_all

        list_all(context.ensure_object(Session))
