"""S1-S10: the set as a whole, its goal and the run it is meant for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from lorasmith.datasets.captions import same_spelling
from lorasmith.datasets.checks.context import CheckContext, Subject
from lorasmith.datasets.checks.duplicates import same_bytes
from lorasmith.datasets.checks.files import has_number_of_repeats
from lorasmith.datasets.checks.finding import Check, Found, Repair, found, pictures
from lorasmith.datasets.manifest import Item
from lorasmith.datasets.origins import ADDRESSES
from lorasmith.files import bytes_in_words

COUNTS: Final[dict[Subject, tuple[int, int]]] = {
    "character": (15, 50), "style": (50, 200), "concept": (20, 100), "object": (10, 20),
}  # fmt: skip
"""How many pictures a goal needs, from and to."""
_ANY_GOAL: Final = 10
_TOO_FEW: Final = 5
_FEW_LOOKS, _MANY_LOOKS = 10, 400  # times one picture is shown; recipes of 800-1500 steps over 10-30 come to 27-150
_IMBALANCE: Final = 3.0
_CROP_MUCH: Final = 0.30
_FRAMINGS: Final = ("full body", "upper body", "portrait", "close-up", "cowboy shot", "lower body", "head shot")
_VIEWS: Final = ("from behind", "from side", "from above", "from below", "profile", "looking at viewer")
_VARIETY_FROM: Final = 8
_ONE_FRAMING: Final = 0.75
_ALIKE_SHARE: Final = 0.5
_EXPLICIT: Final = frozenset({"explicit", "rating:explicit", "rating:e", "nsfw", "rating explicit"})
_GENERAL: Final = frozenset({"general", "rating:general", "rating:g", "rating:safe", "safe", "sfw", "rating general"})
_LICENCE: Final = ("licence", "license")
_BYTES_PER_PIXEL: Final = 1  # 16 latent channels of 4 bytes for each 8 x 8 pixels, the largest of today's encoders
_BYTES_PER_TOKEN: Final = 4096 * 4  # T5-XXL's width in float32
_SPARE: Final = 0.9


def _count(context: CheckContext) -> Iterator[Found]:
    number, goal = len(context.trained), context.goal
    enough, most = COUNTS[goal] if goal else (_ANY_GOAL, 0)
    what = f"{'an' if goal == 'object' else 'a'} {goal} needs" if goal else "most subjects need"
    if number < enough:
        grave = "error" if number < _TOO_FEW else "warning"
        yield Found((), f"{pictures(number)}; {what} {enough} or more.", grave)  # type: ignore[arg-type]
    elif most and number > most:
        yield Found(
            (),
            f"{pictures(number)}; {what} {enough} to {most}, and more of them add time before they add quality.",
            "info",
            "Keep the best and most varied ones.",
        )


def _looks(context: CheckContext) -> Iterator[Found]:
    plan = context.plan
    shown = sum(item.repeats for item in context.trained) * (plan.repeats if plan else 1)
    if plan is None or not shown:
        return
    steps = plan.steps if plan.steps is not None else -(-shown // plan.batch_size) * (plan.epochs or 0)
    looks = steps * plan.batch_size / len(context.trained)
    said = f"{steps} steps of {plan.batch_size} show each of {pictures(len(context.trained))} {looks:.0f} times"
    if looks < _FEW_LOOKS:
        yield Found((), f"{said}, which is hardly enough to learn it.", fix="Train for more steps or epochs.")
    elif looks > _MANY_LOOKS:
        yield Found((), f"{said}, which learns them by heart.", fix="Train for fewer steps, or add pictures.")


def _balance(context: CheckContext) -> Iterator[Found]:
    weights: Counter[str] = Counter()
    for item in context.trained:
        weights[item.concept] += item.repeats
    if len(weights) < 2:
        return
    (most, high), (least, low) = weights.most_common()[0], weights.most_common()[-1]
    if high > _IMBALANCE * low:
        yield from found(
            (item.name for item in context.trained if item.concept == least),
            "The concept {word} an epoch.",
            word=f"'{most or 'without a name'}' is shown {high} times, '{least or 'without a name'}' {low} times",
        )


def _folders(context: CheckContext) -> Iterator[Found]:
    """Top folders without a number, where the target skips them, or where others of the set have one."""
    top = {item.name: _top_folder(item) for item in context.items}
    numbered = any(has_number_of_repeats(folder) for folder in top.values())
    if not numbered and not (context.reader.numbered_folders and any(top.values())):
        return
    without = [name for name, folder in top.items() if not has_number_of_repeats(folder)]
    yield from found(
        without,
        "{n} in {a folder|folders} whose name does not begin with a number of repeats.",
        severity="warning" if context.reader.numbered_folders else "info",
    )


def _top_folder(item: Item) -> str:
    parts = PurePosixPath(item.name).parts
    return parts[-2] if len(parts) > 1 else ""


def _buckets(context: CheckContext) -> Iterator[Found]:
    much = [n for n, placed in context.placed.items() if placed.crop_loss > _CROP_MUCH]
    yield from found(
        much, f"{{n}} will lose more than {_CROP_MUCH:.0%} of {{its|their}} area to the bucket's crop.",
        fix="Crop or split them yourself.",
    )  # fmt: skip
    plan = context.plan
    if plan is None or plan.batch_size < 2:
        return
    filled: dict[tuple[int, int], list[Item]] = defaultdict(list)
    for item in context.trained:
        placed = context.placed[item.name]
        filled[placed.width, placed.height].append(item)
    thin = [
        i for items in filled.values() if sum(x.repeats for x in items) * plan.repeats < plan.batch_size for i in items
    ]
    yield from found(
        (item.name for item in thin), f"{{n}} in buckets that hold less than one batch of {plan.batch_size}."
    )


def _variety(context: CheckContext) -> Iterator[Found]:
    number = len(context.trained)
    if number < _VARIETY_FROM:
        return
    trained = {item.name for item in context.trained}
    for kind in (_FRAMINGS, _VIEWS):
        seen: dict[str, list[str]] = defaultdict(list)
        for name in trained:
            for tag in {same_spelling(tag) for tag in context.tags.get(name, ())}:
                if tag in kind:
                    seen[tag].append(name)
        tag, names = max(seen.items(), key=lambda entry: (len(entry[1]), entry[0]), default=("", []))
        if len(names) > _ONE_FRAMING * number and context.goal != "style":
            yield Found((), f"{len(names)} of {number} pictures are '{tag}'; the adapter will find anything else hard.")
    alike = {n for g in context.groups or () if g.kind in ("near", "similar") for n in g.members if n != g.keeper}
    alike &= trained
    if len(alike) > _ALIKE_SHARE * number:
        yield Found((), f"{len(alike)} of {number} pictures look much like another; the set is smaller than it seems.")


def _leaks(context: CheckContext) -> Iterator[Found]:
    groups = [*same_bytes(context), *(list(group.members) for group in context.groups or ())]
    leaking = []
    for names in groups:
        roles = {name: context.by_name[name].role for name in names if name in context.by_name}
        if {"train", "validation"} <= set(roles.values()):
            leaking += [name for name, role in roles.items() if role == "validation"]
    yield from found(
        leaking,
        "{n} held out for validation {looks|look} like {one|some} that {is|are} trained.",
        repair=Repair("set_role", {"role": "train"}, "Move them to the trained pictures."),
    )


def _origins(context: CheckContext) -> Iterator[Found]:
    unlicensed = [
        item.name
        for item in context.items
        if any(item.provenance.get(key) for key in ADDRESSES) and not any(item.provenance.get(key) for key in _LICENCE)
    ]
    yield from found(unlicensed, "{n} from the web without a licence on record.")
    guarded = {item.concept for item in context.items if item.role == "regularisation"}
    concepts = {item.concept for item in context.trained}
    if guarded and concepts - guarded and "" not in guarded:
        open_ones = sorted(concepts - guarded)
        yield from found(
            (item.name for item in context.trained if item.concept in open_ones),
            "{n} of concepts without regularisation pictures, while others have some.",
            fix="Add regularisation pictures of their class, or drop those of the others.",
        )


def _ratings(context: CheckContext) -> Iterator[Found]:
    explicit, general = [], []
    for item in context.trained:
        marks = {same_spelling(tag) for tag in context.tags.get(item.name, ())}
        marks.add(f"rating:{str(item.provenance.get('rating', '')).casefold()}")
        if marks & _EXPLICIT:
            explicit.append(item.name)
        elif marks & _GENERAL:
            general.append(item.name)
    if general:
        yield from found(explicit, f"{{n}} rated explicit in a set where {len(general)} are rated general.")


def _disk(context: CheckContext) -> Iterator[Found]:
    pixels = sum(placed.width * placed.height for placed in context.placed.values())
    texts = len(context.items) * (context.family.max_tokens + 2) * _BYTES_PER_TOKEN
    needed, free = pixels * _BYTES_PER_PIXEL + texts, context.free_bytes()
    if needed > _SPARE * free:
        yield Found((), f"Caches may need {bytes_in_words(needed)}; {bytes_in_words(free)} are free.")


CHECKS: Final = (
    Check(
        "S1", "warning", "Number of pictures",
        "Too few pictures are learned by heart with their backgrounds; what is enough depends on the goal.",
        "Guides: character 15-50, style 50-200, concept 20-100, object 10-20.",
        "Add more pictures, varied ones.", _count,
    ),
    Check(
        "S2", "warning", "How often each picture is shown",
        "Images x repeats x epochs / batch decides more than any other setting, and is easily off by ten.",
        "Recipes of 800 to 1500 steps over 10 to 30 pictures show each 27 to 150 times; kohya_ss issue 3355.",
        "Change steps, epochs or repeats.", _looks, ("plan",),
    ),
    Check(
        "S3", "warning", "Concepts out of balance",
        "The concept that is shown more often wins wherever the two compete.",
        "Pictures times repeats, as trainers count them.",
        "Change the repeats, so that the concepts come near each other.", _balance,
    ),
    Check(
        "S4", "warning", "Folder without a number of repeats",
        "A folder that is not called like 10_cat is skipped without a word, and its pictures are never trained.",
        "kohya-ss/sd-scripts' folder reading; the cause of 'no data found' in kohya_ss issues 216 to 3374.",
        "Name the folder like 10_cat, or export to a layout that writes the repeats.", _folders,
    ),
    Check(
        "S5", "warning", "Bucket that fits badly",
        "A bucket with less than one batch makes uneven batches or is dropped; a heavy crop cuts the subject away.",
        "The trainer's own buckets.",
        "Crop these pictures to a commoner shape, or lower the batch size.", _buckets,
    ),
    Check(
        "S6", "info", "Little variety",
        "What never changes is learned as part of the subject: its framing, its angle, its moment.",
        "Guides ask for different poses, angles and framings; framing tags and near duplicates count them.",
        "Add other framings and views.", _variety,
    ),
    Check(
        "S7", "warning", "Validation pictures that are also trained",
        "The measured loss then says how well the set was memorised, not how well the adapter generalises.",
        "The premise of a held-out set; groups of near duplicates must not be split.",
        "Move them to the training pictures, or leave them out.", _leaks,
    ),
    Check(
        "S8", "info", "Licence or regularisation pictures missing",
        "Without a licence on record nobody knows whether the adapter may be shared; with regularisation for some "
        "concepts only, the others bleed into their class.",
        "Terms of the sites pictures come from; Ruiz et al. 2022, 'DreamBooth', for prior preservation.",
        "Record the licence, or leave them out before sharing.", _origins,
    ),
    Check(
        "S9", "info", "Mixed ratings",
        "Explicit pictures colour the whole adapter, so that general prompts turn explicit as well.",
        "Ratings of taggers and of the sites pictures come from.",
        "Train them apart, or tag the rating in every caption.", _ratings,
    ),
    Check(
        "S10", "warning", "Disk space for caches",
        "A run that fills the disk dies in the middle.",
        "An upper bound: 16 float32 latent channels for each 8 x 8 pixels, and 4096 float32 values for each token.",
        "Free some space, or choose a home on another disk.", _disk,
    ),
)  # fmt: skip
