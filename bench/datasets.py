"""Every figure that the dataset room has to hold, measured in one run.

    python bench/datasets.py            about a quarter of an hour; writes bench/results/datasets.json and .svg
    python bench/datasets.py --quick    two minutes, up to 10,000 items; writes nothing unless --results says where

The measurements are the scripts in the folder of the same name, and each can be run alone; ``datasets/__main__.py``
runs them one after the other.
"""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]  # where this file is "datasets"
    sys.argv[0] = str(HERE / "datasets")
    runpy.run_path(str(HERE / "datasets"), run_name="__main__")
