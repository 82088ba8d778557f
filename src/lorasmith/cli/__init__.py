"""The command line: a face of ``Studio``. Its start must stay quick, so every command's module is loaded when called.

app         the commands, and ``main``             session     what every command shares: --json, --home, answers
watching    a running job on the screen            completion  scripts for shells, and the names they complete
progress    how far something is, and Ctrl-C       words       changes, word by word
options     TrainConfig as flags                   sections    options of operations and tools
lens        what a dataset is looked at for        reference   docs/commands.md, from the commands themselves

importing   import                                 checking    check             mending     check --fix
prepare     datasets, caption, captions            dataset     the group dataset:
versions    list, history, undo, restore, branch     differing   diff              cleaning    drop, gc
choosing    ledger, select, selections               figures     stats, buckets    looking     duplicates, see
editing     edit                                     retouching  pictures, rename  roles       leave-out, split ...
shipping    export, report
bases       list, add, scan, show, forget, convert, catalogue
families    families
train       train, resume                          jobs        list, show, stop, pause, save, sample, log
use         generate, inspect, certify             look        demo, doctor
secrets     set, list, forget                      consents    list, withdraw
serving     web
"""

from lorasmith.cli.app import main, run

__all__ = ["main", "run"]
