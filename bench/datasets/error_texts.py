"""How many error texts and refusals the check C4 finds, and how often it takes a caption for one.

    python bench/datasets/error_texts.py

The rule was widened by structure with the first set at hand, and again with the second, each written before; the third
was written afterwards and nothing was adjusted to it. Who adjusts the rule to it moves it to
``tests/datasets/error_texts.py`` and writes a new one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from lorasmith.datasets.captions import is_excuse  # noqa: E402
from tests.datasets.error_texts import FIRST, SECOND, Texts  # noqa: E402

THIRD: Final = Texts(
    faults=(
        "It would not be appropriate for me to caption this photo.",
        "I only process text, so images are not something I understand.",
        "Content blocked by administrator.",
        "Error in inference pipeline, skipping file 00213.jpg",
        "torch.cuda.OutOfMemoryError: CUDA out of memory.",
        "the caption service did not respond within 30 seconds",
        "ERR_CONNECTION_TIMED_OUT",
        "This image appears to be blank or corrupted and cannot be described.",
        "Request Entity Too Large",
        "Your account has insufficient balance to run this model.",
        '{"choices": [], "error": null}',
        "Sorry! That picture didn't upload correctly.",
        "AttributeError: 'NoneType' object has no attribute 'shape'",
        "Describe this image in detail.",
        "Je regrette, mais cette demande enfreint mes consignes.",
        "empty response from model",
        "I would prefer not to speculate about the identity of the person shown.",
        'File "/app/caption.py", line 88, in run',
        "*** caption unavailable ***",
        "Sure, please share the image you want me to caption.",
    ),
    sound=(
        "an old telephone that is out of service, rusty booth",
        "a child who can't reach the cookie jar, kitchen",
        "a mechanic reading an error code on a car dashboard",
        "we are the champions, football team lifting a trophy",
        "my neighbor's garden, no people, roses, morning light",
        "a policeman blocking a street, parade, balloons",
        "a network of roots under a tree, cutaway illustration",
        "an astronaut without a helmet, portrait, studio light",
        "A letter of apology lies on the desk. The ink is not dry yet.",
        "a message in a bottle on a beach, cork missing",
        "a person taking a photo of a painting, museum, no flash sign",
        "a server room on fire, dramatic lighting, concept art",
        "a fatal blow, knight, dragon, fantasy battle",
        "info desk at an airport, travelers, luggage",
        "the painting is not finished, sketch lines are visible",
        "an exceptional view over the valley, hikers, sunset",
        "a boy asking for help with homework at a table",
        "The man is unable to lift the heavy stone. Villagers watch him.",
        "a caption contest poster on a cafe wall",
        "a girl who refuses to eat her soup, comic style",
    ),
)


def main() -> None:
    """Print a line for each set, and each text that was judged wrongly."""
    for name, texts in (("first", FIRST), ("second", SECOND), ("third, unseen", THIRD)):
        missed = [text for text in texts.faults if not is_excuse(text)]
        alarms = [text for text in texts.sound if is_excuse(text)]
        found = len(texts.faults) - len(missed)
        print(f"{name}: {found} of {len(texts.faults)} faults found, {len(alarms)} of {len(texts.sound)} false alarms")  # noqa: T201
        for kind, wrong in (("missed", missed), ("false alarm", alarms)):
            for text in wrong:
                print(f"    {kind}: {text}")  # noqa: T201


if __name__ == "__main__":
    main()
