"""How many error texts and refusals the check C4 finds, and how often it takes a caption for one.

``FIRST`` was written before its rule was widened by structure, ``SECOND`` afterwards and looked at only then.

    python bench/datasets/error_texts.py
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lorasmith.datasets.captions import is_excuse


class Texts(NamedTuple):
    """Texts that stand where a caption should."""

    faults: tuple[str, ...]
    sound: tuple[str, ...]


FIRST: Final = Texts(
    faults=(
        "I'm unable to make out the contents of this picture.",
        "Sorry, but this is something I can't help with.",
        "I am not permitted to talk about real people in photographs.",
        "Oops! Something went wrong on our side. Try again in a few minutes.",
        "429 Client Error: Too Many Requests for url: https://api.example.com/v1/chat/completions",
        "HTTPSConnectionPool(host='localhost', port=5000): Max retries exceeded with url: /caption",
        '{"status": 500, "title": "Internal Server Error"}',
        "{'error': {'message': 'You exceeded your current quota', 'type': 'insufficient_quota'}}",
        "OSError: cannot identify image file '/data/img/0043.webp'",
        "[WinError 5] Access is denied: 'D:\\\\train\\\\a.txt'",
        "PIL.UnidentifiedImageError",
        "Segmentation fault (core dumped)",
        "Your prompt was rejected as a result of our safety system.",
        "The response was filtered due to the prompt triggering the content management policy.",
        "This content may violate our terms of use or moderation policies.",
        "It looks like no image came through. Could you send it again?",
        "I don't see an attached picture in your message.",
        "Without the actual image I have no way of describing it.",
        "I'd be happy to help, but I'll need you to upload the photo first.",
        "As a text-only assistant, viewing pictures is beyond me.",
        "null",
        "<no caption>",
        "TODO: write caption",
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
        "insert caption here",
        "caption not found",
        "#N/A",
        "Model is overloaded, please retry your request.",
        "Ich kann dieses Bild leider nicht beschreiben.",
        "I must respectfully pass on describing this one, as it shows explicit material.",
    ),
    sound=(
        "a neon sign that reads ERROR above a closed arcade, rain, night",
        "a man on his knees apologizing to his wife, oil painting, 19th century",
        "screenshot of a computer with a blue screen and an error message",
        "a sign saying 'Sorry, we are closed' hanging in a shop window",
        "1girl, error, glitch, monitor, keyboard, looking at viewer",
        "a failed cake on a kitchen table, frosting sliding off",
        "cannot unsee, meme, cat, looking at viewer",
        "a policy maker at a desk signing documents, photograph",
        "a rate board at a currency exchange, numbers in red",
        "a forbidden city gate in winter, tourists, snow",
        "traceback, original character, 1boy, red hair, cyberpunk jacket",
        "a blind woman who is unable to see, holding a white cane, portrait",
        "a woman holding a cardboard sign with the words 'I can't breathe'",
        "a robot as an AI assistant in a white living room, 3d render",
        "an old photograph with a missing corner, sepia",
        "a note on the fridge: please provide your own lunch",
        "no humans, scenery, sky, cloud, water",
        "none shall pass, knight, armor, bridge, sword",
        "a null modem cable on a workbench, macro",
        "a todo list on a whiteboard in an office",
        "latin text, lorem ipsum on a poster mockup, minimalist design",
        "an empty museum hall with nothing on its walls",
        "a student crying over a rejected application letter",
        "a server rack with blinking lights in a dark data center",
        "two people shaking hands after an apology, comic panel, speech bubble",
        "a 500 dollar bill concept art, engraving style",
        "a man who could not be happier, laughing, beach at sunset",
        "image of a cat that is unavailable, sleeping in a box with a 'do not disturb' sign",
        "a worker in front of an out of memory slot machine, surreal illustration",
        "I am a tired astronaut, text on t-shirt, flat design",
    ),
)
SECOND: Final = Texts(faults=(), sound=())


def main() -> None:
    """Print a line for each set, and each text that was judged wrongly."""
    for name, texts in (("first", FIRST), ("second", SECOND)):
        missed = [text for text in texts.faults if not is_excuse(text)]
        alarms = [text for text in texts.sound if is_excuse(text)]
        found = len(texts.faults) - len(missed)
        print(f"{name}: {found} of {len(texts.faults)} faults found, {len(alarms)} of {len(texts.sound)} false alarms")  # noqa: T201
        for kind, wrong in (("missed", missed), ("false alarm", alarms)):
            for text in wrong:
                print(f"    {kind}: {text}")  # noqa: T201


if __name__ == "__main__":
    main()
