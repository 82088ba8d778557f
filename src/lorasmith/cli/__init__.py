"""The command line: a face of ``Studio``. Its start must stay quick, so every command's module is loaded when called.

app         the commands, and ``main``             session     what every command shares: --json, --home, answers
watching    a running job on the screen            completion  scripts for shells
prepare     import, datasets, check, caption, captions
train       train, resume                          options     TrainConfig as flags
bases       list, add, scan, show, forget, convert, catalogue
jobs        list, show, stop, pause, save, sample, log
use         generate, inspect, certify             look        demo, doctor
reference   docs/commands.md, from the commands themselves
"""

from lorasmith.cli.app import main, run

__all__ = ["main", "run"]
