"""Captions written after the text checks were finished, to see what they do on wordings nobody adjusted them to.

For each check captions it should speak of, and captions it should pass. ``bench/datasets/checks.py`` prints the shares.
A check that is changed because of a caption here is no longer measured by it: move the caption to
``tests/datasets/check_captions.py`` and write new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UNSEEN: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "C4": (
        (
            "Request failed with status 500.",
            "Unfortunately the system encountered a problem and no caption was produced.",
            "I'm afraid I can't assist with that.",
            "json.decoder.JSONDecodeError: Expecting value: line 1 column 1",
            "Model not found, please check your settings",
            "I can not describe explicit content.",
            "This picture goes against the content guidelines.",
            "Sorry, something broke.",
            "Timeout while waiting for worker",
            "out of memory",
            "I’m really sorry, but identifying this person is not something I’m able to do.",
            "ollama: connection refused",
            "ERROR: caption is empty",
            "Please try again with another image.",
            "undefined",
        ),
        (
            "a broken window, glass on the floor, abandoned factory",
            "out of focus lights, city, night",
            "a sorry state of a garden, weeds, fence",
            "police line do not cross, tape, street",
            "failure poster, runner on the ground, stadium",
            "connection cables behind a server rack",
            "null island buoy, ocean, fog",
            "a policy meeting, people at a table, charts",
            "two models on a runway, gold dresses",
            "read only memory chip, macro",
            "i'm a barbie girl, pink dress, doll box",
            "empty box, cardboard, studio",
        ),
    ),
    "C18": (
        (
            "sitting on sitting on sitting on sitting on a chair",
            "a green apple and a green apple and a green apple and a green apple",
            "detail detail detail detail detail detail",
            "She smiles at the camera. She smiles at the camera. "
            "She smiles at the camera. She smiles at the camera. She smiles.",
            "trees, grass, trees, grass, trees, grass, trees, grass",
            "wood texture wood texture wood texture wood texture wood texture",
        ),
        (
            "bye bye bye, album cover, five men",
            "a row of houses, a row of trees, a row of cars",
            "long long ago, book page",
            "the dog, the cat, the bird and the fish in the boat",
            "beep beep, yellow taxi",
            "one of one, two of two, print numbers",
        ),
    ),
    "C19": (
        (
            "The photo showcases a modern kitchen.",
            "In this image there is a cat.",
            "A picture showing two boats.",
            "This is a close-up photo of a bee.",
            "The visual presents a robot in rain.",
            "The main subject of the image is a horse.",
            "The image, taken at night, shows a tower.",
            "What we have here is a photo of a lake.",
            "This particular painting depicts a storm.",
            "Image shows a man.",
            "You are looking at a picture of a market.",
            "The digital artwork features a dragon.",
        ),
        (
            "the picture frame on the wall, gold, baroque",
            "this is the way, sign in a desert",
            "the painting hangs crooked, gallery",
            "a scene kid with dyed hair",
            "still life of apples, oil painting",
            "portrait of a lady on fire, film",
            "here is the place, map with a pin",
            "illustration, forest path, mist",
        ),
    ),
    "C20": (
        (
            "portrait, (soft light:.7), blur",
            "smile), standing",
            "cat [sitting, sofa",
            "<lora:pixel_art_v2:0.65> castle",
            "{{{glow, night",
            'tag "quoted, forest',
        ),
        (
            "1girl, (:, happy",
            "zelda (link\\'s awakening), shore",
            "wall 3' x 5' poster, room",
            "1boy, >:(, angry",
            "star (symbol), necklace",
            "1girl, @_@, dizzy",
            't-shirt with "ok" print',
            "a) first row, class",
            "1girl, :q, licking lips",
            "score 3:2, football",
        ),
    ),
    "C23": (
        (
            "1girl, artist_logo, patreon_logo",
            "a harbor, faint watermark text",
            "lake, web address, dated, signature",
            "a bride, photo credit in the corner",
            "poster with a getty images mark over the face",
            "1girl, twitter_username",
        ),
        (
            "a paper with watermarked banknotes design, macro",
            "sign language, two hands",
            "a logo on the cap of a boy",
            "postal address on a letter, desk",
            "a person who dates, cafe",
            "web of a spider, dew",
        ),
    ),
    "C15": (
        (
            "1girl, solo, green eyes, yellow eyes",
            "1girl, 4girls",
            "solo, 1boy, short hair, long hair, sword",
            "indoors, outdoors, tree",
            "1girl, solo, aqua hair, orange hair",
            "1boy, 2boys, solo",
            "1girl, solo, eyepatch, no eyepatch",
            "1girl, solo, nude, fully clothed",
            "1girl, solo, sleeveless, long sleeves",
        ),
        (
            "1girl, solo, long hair, ponytail, black hair, black eyes",
            "1boy, 1girl, holding hands, standing, night",
            "solo, 1girl, sitting, on chair, looking to the side",
            "1girl, solo, hat, black headwear, brown hair",
            "2girls, 1boy, red eyes, blue eyes",
            "no humans, scenery, night, stars",
            "1girl, solo, detached sleeves, sleeveless",
            "1girl, solo, glasses, blue eyes, smile, open mouth",
            "two-tone hair, solo, 1girl, white hair, black hair",
        ),
    ),
}

SPELLINGS: Final[tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]] = (
    (
        ("long sleeves", "long sleves"),
        ("looking at viewer", "looking at veiwer"),
        ("thighhighs", "thighighs"),
        ("blonde hair", "blond hair"),
        ("Eiffel tower", "eiffel tower"),
        ("school uniform", "school unifrom"),
        ("earrings", "earring"),
        ("wide_shot", "wide shot"),
        ("hair ribbon", "hairribbon"),
        ("ponytail", "pony-tail"),
        ("umbrella", "unbrella"),
    ),
    (
        ("red dress", "red tress"),
        ("standing", "stranding"),
        ("white background", "white backgrounds 2"),
        ("brown hair", "crown hair"),
        ("two cats", "tow cats"),
        ("striped shirt", "striped skirt"),
        ("holding phone", "holding phone 2"),
        ("hands on hips", "hand on hip"),
        ("black boots", "black boats"),
        ("short sleeves", "short shorts"),
        ("sitting", "spitting"),
        ("looking up", "looking down"),
    ),
)
"""Pairs of a tag on twelve pictures and one on a single picture that mean the same, and pairs that do not."""
