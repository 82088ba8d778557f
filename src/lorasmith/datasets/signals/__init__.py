"""What can be measured of a picture: sharpness, light, borders, traces of compression and enlargement, hashes.

    signals = SignalStore(home).of(shas, store.blob_path)      # measured once, then read from <home>/signals.db
    signals[item.image].is_blurred

``values.py`` has the numbers and their thresholds, ``measuring.py`` takes them from one decode, ``borders.py`` and
``traces.py`` are the two measurements that need more than a line, ``memory.py`` keeps what was measured.
"""

from lorasmith.datasets.signals.measuring import jpeg_quality_of, measure
from lorasmith.datasets.signals.memory import SignalStore
from lorasmith.datasets.signals.values import ALGORITHM, Signals

__all__ = ["ALGORITHM", "SignalStore", "Signals", "jpeg_quality_of", "measure"]
