"""For each check: a scene that must trigger it, with the items it must name, and one that comes close and must not.

``bad`` changes a clean scene and returns the names that have to be found; ``near`` changes a clean scene so that a
careless check would speak. Both vary with the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.datasets.check_changes import (
    Change,
    addressed,
    alike,
    all_moving,
    any_of,
    blank,
    borrowed,
    both,
    burst,
    case_twin,
    concepts,
    copied,
    foldered,
    in_prose,
    in_tags,
    known,
    large_and_small,
    late_trigger,
    left_out,
    list_of_tags,
    misread,
    missing_blob,
    moving,
    named,
    nothing,
    numbered,
    odd_one_out,
    of_bytes,
    of_format,
    on_all,
    on_most,
    one_size,
    paired,
    quietly,
    rated,
    renamed,
    reworded_trigger,
    seen,
    shared_caption,
    sized,
    spelled,
    tagged,
    transformed,
    twin,
    two_captions,
    without,
    without_trigger,
    written,
)
from tests.datasets.check_scenes import (
    TRIGGER,
    WORDS,
    Mark,
    Scene,
    captioned,
    clean,
    plan,
    prose,
    sha,
    some,
    tags,
)


@dataclass(frozen=True)
class Case:
    """What triggers a check, and what must not."""

    bad: Change
    near: Change
    start: Callable[[random.Random], Scene] = clean


CASES: Mapping[str, Case] = {
    "F1": Case(
        any_of(left_out(("a.jpg", "damaged"), ("b/c.png", "damaged")), missing_blob), left_out(("b.png", "empty_file"))
    ),
    "F2": Case(transformed("repaired:end_mark"), transformed("orientation:6", "reduced:2")),
    "F3": Case(named(".png", ".jpg", format="PNG"), named(".png", ".jfif", format="JPEG")),
    "F4": Case(
        left_out(("a.jpg", "empty_file"), ("b.jpg", "not_an_image")),
        left_out(("c.md", "not_an_image"), ("d", "hidden")),
    ),
    "F5": Case(
        any_of(
            left_out(("a.heic", "unsupported_format"), ("b.tif", "unsupported_pixels")),
            both(
                known(trainer="ai-toolkit"),
                lambda s, r: [
                    s.change(p, image=s.items[p].original, provenance={**s.items[p].provenance, "format": "BMP"})
                    for p in some(r, s)
                ],
            ),
        ),
        both(known(trainer="ai-toolkit"), named(".png", ".webp", format="WEBP")),
    ),
    "F6": Case(transformed("first_frame:12"), transformed("orientation:6")),
    "F7": Case(twin(".jpg"), twin("_2.png")),
    "F8": Case(any_of(left_out(("../x.png", "unsafe_path")), renamed, case_twin), twin("é.png")),
    "F9": Case(
        any_of(
            left_out(("a.png", "bomb"), ("b.tif", "too_many_pixels"), ("c.png", "too_large")),
            of_bytes(25_000_000),
            of_bytes(100_000, width=9000, height=5000),
            of_format("JPEG", of_bytes(9_000)),
        ),
        any_of(of_bytes(19_000_000), of_bytes(9_000), of_format("JPEG", of_bytes(9_000, width=256, height=256))),
    ),
    "F10": Case(
        left_out(
            ("notes.md", "not_an_image"), ("Thumbs.db", "system_file"), (".x", "hidden"), ("a.zip", "nested_archive")
        ),
        left_out(("b.jpg", "not_an_image")),
    ),
    "F11": Case(
        left_out(("l.png", "link"), ("u.png", "unreadable"), ("e.png", "encrypted")), left_out(("a.png", "damaged"))
    ),
    "F12": Case(borrowed("kohya"), borrowed("musubi")),
    "P1": Case(sized((300, 300), (400, 380), (300, 500)), sized((512, 512), (513, 2000), (640, 480))),
    "P2": Case(sized((200, 900), (255, 255)), sized((256, 256), (1000, 257))),
    "P3": Case(sized((3000, 300), (400, 2600), (1000, 190)), sized((768, 512), (512, 512), (1600, 1000))),
    "P4": Case(transformed("orientation:6", "orientation:3"), transformed("depth:16")),
    "P5": Case(transformed("icc:Display P3", "icc_unreadable"), transformed("mode:CMYK")),
    "P6": Case(transformed("alpha:#ffffff", "alpha:mask"), transformed("mode:P")),
    "P7": Case(transformed("depth:16", "mode:CMYK"), transformed("alpha:#ffffff")),
    "P8": Case(
        any_of(seen(sharpness=12.0, is_blurred=True, is_soft=True), seen(sharpness=70.0, is_soft=True)),
        seen(sharpness=101.0),
    ),
    "P9": Case(any_of(seen(is_too_dark=True), seen(is_too_bright=True)), seen(is_low_contrast=True)),
    "P10": Case(seen(is_low_contrast=True), seen(is_too_bright=True)),
    "P11": Case(seen(has_borders=True, border_share=0.2), seen(border_share=0.02)),
    "P12": Case(seen(is_gray=True), lambda s, r: [s.see(p, is_gray=True) for p in range(len(s.items))] and []),
    "P13": Case(any_of(seen(jpeg_quality=50, is_low_quality_jpeg=True), seen(is_blocky=True)), seen(jpeg_quality=76)),
    "P14": Case(seen(is_upscaled=True), seen(is_soft=True, sharpness=60.0)),
    "P15": Case(known(overlay=Mark(23.0)), known(overlay=Mark(5.8))),
    "P16": Case(
        any_of(
            large_and_small((520, 520), (3000, 2000)),
            lambda s, r: [s.see(p, jpeg_quality=45 if p < len(s.items) // 4 else 95) for p in range(len(s.items))][
                : len(s.items) // 4
            ],
        ),
        large_and_small((640, 640), (1200, 1200)),
    ),
    "D1": Case(any_of(copied, left_out(("copy.png", "duplicate"))), alike("pixels")),
    "D2": Case(alike("pixels"), alike("near")),
    "D3": Case(alike("near"), alike("similar")),
    "D4": Case(alike("similar"), alike("near")),
    "D5": Case(alike("turned"), alike("similar")),
    "D6": Case(any_of(alike("near", role="validation"), alike("pixels", role="regularisation")), alike("near")),
    "D7": Case(
        any_of(two_captions, alike("near", same_caption=False)), any_of(copied, alike("similar", same_caption=False))
    ),
    "C1": Case(blank(had_file=False), written(f"{TRIGGER}.", f"{TRIGGER}, -")),
    "C2": Case(blank(had_file=True), written(f"{TRIGGER}.", f"{TRIGGER}, ?")),
    "C3": Case(
        any_of(
            left_out(("x.txt", "unreadable_caption")),
            misread,
            written(
                f"\ufeff{TRIGGER}, cafe, a",
                f"{TRIGGER}, caf\ufffd",
                f"{TRIGGER}\x00",
                f"{TRIGGER}, cafÃ©",
                f"{TRIGGER} itâ€™s",
            ),
        ),
        written(f"{TRIGGER}, café, SÃO PAULO, 猫", f"{TRIGGER},\tnaïve, Â", f"{TRIGGER}, coração, 80 € coin"),
    ),
    "C4": Case(
        written(
            "Error generating caption",
            "Error: CUDA out of memory. Tried to allocate 20.00 MiB",
            "Caption generation failed",
            "I'm sorry, but I can't help with that request.",
            "I’m sorry, I cannot describe this image.",
            "I cannot assist with identifying people.",
            "As an AI language model, I can't see images.",
            "Unfortunately, I'm unable to view the image.",
            "Traceback (most recent call last):\n File x",
            "RuntimeError: expected scalar type",
            "torch.cuda.OutOfMemoryError: CUDA out of memory",
            "Failed to generate caption: timeout",
            '{"error": {"message": "rate limit"}}',
            "<html><body>502</body>",
            "HTTP 503",
            "Please provide an image for me to describe.",
            "None",
            "[no caption]",
            "I apologize, but I am not able to comply.",
            "Sorry, but I can't provide a description of this image.",
            "Could not process image",
            "rate limit exceeded",
        ),
        written(
            f"{TRIGGER}, error, glitch, computer screen",
            f"{TRIGGER} looks at a 404 error page on a monitor",
            f"error message on a screen, {TRIGGER}",
            f"{TRIGGER} says 'I'm sorry' in a speech bubble",
            f"I'm sorry card held by {TRIGGER}, smile",
            f"failed cake, {TRIGGER} laughing",
            f"{TRIGGER}, ai-generated, robot",
            f"an error 404 sign behind {TRIGGER}",
            f"{TRIGGER}, none of the windows are open",
            f"unable bird, {TRIGGER}",
            f"sorry dog with sad eyes, {TRIGGER}",
            f"exception handling diagram, {TRIGGER}",
            f"as an aisle seat passenger, {TRIGGER}",
        ),
    ),
    "C5": Case(without_trigger, reworded_trigger),
    "C6": Case(any_of(tagged(TRIGGER, f"photo of {TRIGGER}"), late_trigger), tagged(f"{TRIGGER}a", "zorb")),
    "C7": Case(
        lambda s, r: s.known.update(trigger_word=r.choice(("cat", "blue dress", "style", "Anna", "xy"))) or [],
        lambda s, r: s.known.update(trigger_word=r.choice(("ohwx", "saria_zelda", "blue zorbix", "mystyle77"))) or [],
    ),
    "C8": Case(
        tagged(", ".join(f"item {n} of a very long list" for n in range(15))), tagged("one more tag, two more tags")
    ),
    "C9": Case(written(f"{TRIGGER}, umbrella", f"{TRIGGER} is in the garden near a tree."), nothing),
    "C10": Case(tagged(", ".join(f"word {n}" for n in range(110))), tagged(", ".join(f"word {n}" for n in range(40)))),
    "C11": Case(
        quietly(
            lambda s, r: s.known.update(trainer=r.choice(("kohya", "musubi", "diffusion-pipe", "lorasmith"))) or [],
            lambda s, r: [s.change(p, caption=s.items[p].caption + "\nanother line") for p in some(r, s)],
        ),
        quietly(
            lambda s, r: s.known.update(trainer=r.choice(("onetrainer", "simpletuner"))) or [],
            lambda s, r: [s.change(p, caption=s.items[p].caption + "\nanother line") for p in some(r, s)],
        ),
    ),
    "C12": Case(
        lambda s, r: captioned(s, some(r, s), [prose(r)]),
        written(f"{TRIGGER}, red car", f"{TRIGGER} at sea", f"photo of {TRIGGER} with an umbrella"),
        in_tags,
    ),
    "C13": Case(
        tagged(
            "solo, solo", "umbrella, Umbrella", "straw hat, straw_hat", ", book", "book,", "book，lamp", "red  book"
        ),
        tagged("felt hat, black felt hat", "1, 2", "poster (object), poster"),
        in_tags,
    ),
    "C14": Case(
        any_of(
            spelled("twin braids", "twin_braids"),
            spelled("night sky", "Night Sky"),
            spelled("ponytail", "ponytial"),
            spelled("cat ears", "cat ear"),
            spelled("watercolor", "watercolour"),
            spelled("ponytail", "pony tail"),
        ),
        any_of(
            spelled("twintails 1", "twintails 2"),
            spelled("black hat", "blank hat"),
            spelled("hat", "cat"),
            spelled("red hair", "bed hair"),
            spelled("holding sword", "holding swoop"),
            spelled("glass", "glasses x"),
        ),
        lambda rng: clean(rng, 24, tags),
    ),
    "C15": Case(
        tagged(
            "1girl, 2girls",
            "solo, long hair, short hair",
            "1girl, solo, blue eyes, red eyes",
            "day, night",
            "indoors, outdoors",
            "1boy, solo, open mouth, closed mouth",
            "solo, multiple girls",
            "Blue_eyes, green eyes, 1girl, solo",
        ),
        tagged(
            "1girl, 1boy, blue eyes, red eyes",
            "long hair, very long hair",
            "heterochromia, blue eyes, red eyes, 1girl, solo",
            "2girls, long hair, short hair",
            "window, indoors, outdoors",
            "multiple views, from above, from below",
            "long hair, long skirt",
            "blue hair, blue eyes",
            "two-tone hair, black hair, red hair, 1girl",
        ),
        lambda rng: without(in_tags(rng), WORDS["act"] + WORDS["shot"] + WORDS["view"] + ("solo",)),
    ),
    "C16": Case(on_all("striped wall"), on_most("striped wall", 0.9), lambda rng: clean(rng, 24, tags)),
    "C17": Case(shared_caption(0.4), shared_caption(0.12)),
    "C18": Case(
        tagged(
            "red car, red car, red car, red car, red car",
            "ha ha ha ha ha",
            "the man and the man and the man and the man and the man and",
        ),
        tagged("red car, blue car, green car, white car", "very very very old", "1 1 1 1 1 1", "a b a b a c a b a d"),
        in_prose,
    ),
    "C19": Case(
        written(
            f"This image shows {TRIGGER} with a book",
            f"The image depicts {TRIGGER} in the garden",
            f"In this picture, we can see {TRIGGER}",
            f"Here is a detailed description of the image: {TRIGGER} reads",
            f"Sure! The photo features {TRIGGER}",
            f"Caption: {TRIGGER}",
        ),
        written(
            f"{TRIGGER} looks at this image, which shows a house",
            f"the image on the wall behind {TRIGGER}",
            f"a photo of {TRIGGER} in the rain",
            f"{TRIGGER}, picture frame, image",
        ),
    ),
    "C20": Case(
        tagged(
            "(masterpiece:1.2)",
            "<lora:style:0.8>",
            "(open bracket",
            "closed bracket)",
            '"open quote',
            "[tag:0.5]",
            "((x)",
        ),
        tagged(
            r"saber \(fate\)",
            "poster (object)",
            ":)",
            ":(, sad",
            ";), wink",
            ">_<",
            "6' 2\" tall",
            'text "hi"',
            "time 12:30",
            ":d",
            "(o)_(o)",
        ),
    ),
    "C21": Case(
        quietly(list_of_tags, tagged("umbrela", "unheard of thing")),
        both(list_of_tags, tagged(r"saber \(fate\)", "Straw_Hat")),
        in_tags,
    ),
    "C22": Case(
        left_out(("x.txt", "orphan_caption"), ("y.jpg.txt", "orphan_caption"), ("z.txt", "duplicate_caption")),
        left_out(("notes.md", "not_an_image")),
    ),
    "C23": Case(
        tagged("watermark", "artist_name", "Twitter username", "shutterstock watermark over it", "© 2020"),
        tagged("watercolor", "signing a letter", "name tag", "dating", "web"),
    ),
    "S1": Case(
        lambda s, r: s.known.update(goal=r.choice(("style", "character", "concept", "object", None))) or [],
        known(goal=None),
        lambda rng: clean(rng, rng.randint(3, 9)),
    ),
    "S2": Case(
        any_of(known(plan=plan(steps=20)), known(plan=plan(epochs=900)), known(plan=plan(epochs=2))),
        any_of(known(plan=plan(steps=1000)), known(plan=plan(epochs=10, repeats=10))),
        numbered(20),
    ),
    "S3": Case(concepts(3, 1), concepts(3, 6), numbered(20)),
    "S4": Case(
        any_of(foldered("10_cat", "dog"), quietly(known(trainer="kohya"), foldered("cat"))),
        any_of(foldered("10_cat", "5_dog"), foldered("cat", "dog")),
    ),
    "S5": Case(
        any_of(sized((4000, 500), (500, 3800)), odd_one_out),
        both(known(plan=plan(batch_size=4, steps=600)), one_size),
    ),
    "S6": Case(
        any_of(on_all("extreme wide shot, upper body"), burst),
        on_most("from below", 0.4),
        lambda rng: without(in_tags(rng), WORDS["shot"] + WORDS["view"]),
    ),
    "S7": Case(
        any_of(alike("similar", role="validation"), alike("turned", role="validation")),
        alike("near", role="regularisation"),
    ),
    "S8": Case(
        any_of(
            addressed(),
            lambda s, r: (
                [*concepts(4, 1)(s, r), s.change(0, role="regularisation")]
                and [i.name for i in s.items if i.concept == "a"]
            ),
        ),
        any_of(addressed(licence="CC0"), concepts(4, 4)),
    ),
    "S9": Case(
        rated("rating:explicit", "rating:general", "rating:general"),
        rated("rating:general", "rating:sensitive"),
        in_tags,
    ),
    "R1": Case(paired(alone=True), any_of(nothing, paired())),
    "R2": Case(left_out(("control/a.png", "orphan_reference"), ("b_start.png", "orphan_reference")), nothing),
    "R3": Case(paired(counts=(2, 1)), paired(counts=(2, 2))),
    "R4": Case(paired(wider=1.3), paired(wider=1.02)),
    "R5": Case(paired(own=True), paired()),
    "R6": Case(paired(larger=0.4), paired(larger=0.8)),
    "V1": Case(moving(2, 4), moving(5, 9)),
    "V2": Case(moving(33, fps=(16.0, 25.0)), moving(33, fps=(29.97, 30.0))),
    "V3": Case(moving(8, 18, 31), moving(9, 17, 33, 90)),
    "V4": Case(moving(80, 200), moving(33, 37)),
    "V5": Case(transformed("frame_rate:uneven"), transformed("orientation:6")),
    "V6": Case(all_moving("sdxl"), moving(33)),
    "V7": Case(transformed("sound:aac"), transformed("frame_rate:uneven")),
    "V8": Case(transformed("hdr_unmapped:pq", "hdr_unmapped:hlg"), transformed("hdr:pq")),
    "S10": Case(known(free_disk=1_000_000), known(free_disk=10**11)),
}


def scene_for(id_: str, seed: int, *, bad: bool) -> tuple[Scene, list[str]]:
    """The scene of a check that has to trigger it, or that must not, and the names it has to find."""
    rng = random.Random(f"{id_} {seed} {bad}")
    case = CASES[id_]
    scene = case.start(rng)
    if id_ == "S1" and not bad:
        scene = clean(rng, rng.randint(10, 40))
    expected = (case.bad if bad else case.near)(scene, rng)
    scene.items = list({item.name: item for item in scene.items}.values())
    return scene, expected


def fingerprint_of(scene: Scene) -> str:
    """Tells two scenes apart."""
    return sha(repr(scene))
