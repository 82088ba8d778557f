"""Fills a real disk under a real run: a small tmpfs, then a larger one (Linux, as root).

    python bench/disk.py

The worker must pause with what it has saved, go on when there is room again, and end in the bytes of a run that always
had room. The check before the start is switched off, so that the disk fills while checkpoints are written.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

UNCHECKED = (
    "import sys, lorasmith.trainers.native as native, lorasmith.worker as worker;"
    "native._check_disk = lambda *arguments: None; sys.exit(worker.main(sys.argv[1:]))"
)


def main() -> int:
    from tests.tiny import build_tiny_base
    from tests.training.home import make_dataset, make_job, quick_config

    with tempfile.TemporaryDirectory(prefix="lorasmith disk ") as temporary:
        root = Path(temporary)
        disk = root / "disk"
        disk.mkdir()
        config = quick_config(build_tiny_base(root / "tiny"), max_train_steps=8)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3400k", "tmpfs", str(disk)], check=True)
        try:
            outcomes = []
            job = make_job(disk / "home", config, make_dataset(disk / "home"))
            for size in ("3400k", "60m"):
                subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
                subprocess.run([sys.executable, "-c", UNCHECKED, str(job.path)], check=False, cwd=ROOT / "src")
                outcomes.append(job.result())
            whole = make_job(root / "home", config, make_dataset(root / "home"))
            subprocess.run([sys.executable, "-m", "lorasmith.worker", str(whole.path)], check=False, cwd=ROOT / "src")
            expected = whole.result()
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    first, second = outcomes
    assert first is not None and second is not None and expected is not None
    same = second.output.get("sha256") == expected.output.get("sha256") is not None
    sys.stdout.write(f"full: {first.outcome} ({first.error}); with room again: {second.outcome}; same bytes: {same}\n")
    return 0 if (first.outcome, same) == ("paused", True) else 1


if __name__ == "__main__":
    sys.exit(main())
