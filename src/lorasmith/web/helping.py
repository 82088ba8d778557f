"""What the help page says, as data, so that the palette finds every piece of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Topic:
    """A section of the help page."""

    id: str
    title: str
    words: str = ""
    """Further words it is found by."""


@dataclass(frozen=True)
class Guide:
    """How one kind of model is made."""

    id: str
    title: str
    count: str
    pictures: tuple[str, ...]
    captions: tuple[str, ...]
    recipe: str


@dataclass(frozen=True)
class Trouble:
    """A message people meet, and what helps."""

    id: str
    message: str
    where: str
    cures: tuple[tuple[str, str], ...]
    """What to do, and the page where it is done; empty where it is done elsewhere."""


@dataclass(frozen=True)
class Tips:
    """Advice under a heading."""

    id: str
    title: str
    lines: tuple[tuple[str, str], ...]
    """A word, and a sentence about it."""


GUIDES: Final = (
    Guide(
        "guide-person",
        "A person or character",
        "15 to 50 pictures; 15 to 20 good ones are a good start.",
        (
            "Different poses and angles: front, side, back, close and from afar.",
            "Different expressions, lights and backgrounds, so that none of them is learned with the person.",
            "More than one outfit, unless one belongs to the character.",
            "One clear subject a picture, at least 512 × 512 pixels, sharp, no heavy filters.",
        ),
        (
            "A trigger word the base does not know, at the beginning of every caption.",
            "Name what changes (clothes, pose, place); what is not named is learned as part of the character.",
            "Keep striking details consistent: say the same eye colour with the same words.",
        ),
        "Portrait: 1200 steps, rank 24, learning rate 3e-4.",
    ),
    Guide(
        "guide-style",
        "A style",
        "20 to 30 pictures work; 50 to 200 make it sure of itself.",
        (
            "One technique, one way of rendering, related colours throughout.",
            "Many different subjects in it: a style of cats only becomes a LoRA of cats.",
            "No frames, signatures or margins, unless they belong to the style; the checks find them.",
        ),
        (
            "Describe what is shown and leave the style to the trigger word.",
            "Medium, light and composition may be named where they differ between pictures.",
        ),
        "Style: 1000 steps, rank 16, learning rate 4e-4.",
    ),
    Guide(
        "guide-object",
        "An object or concept",
        "10 to 20 pictures of a product; 20 to 100 of a concept, by how varied it is.",
        (
            "The thing alone and in use, from all sides, in several places and lights.",
            "Every picture shows it clearly; none that could be read as something else.",
        ),
        (
            "Exact words for materials, parts and setting.",
            "The same word for the thing everywhere, and the trigger word with it.",
        ),
        "Product: 800 steps, rank 12, learning rate 5e-4.",
    ),
)

TROUBLES: Final = (
    Trouble(
        "no-images-found",
        "No images found in ZIP",
        "importing",
        (
            ("Pictures may lie in the root or in folders of any depth; look inside the archive.", ""),
            (
                "JPG, PNG, WebP, BMP, TIFF, GIF and AVIF are read; others are named in the ledger with the reason.",
                "/datasets",
            ),
            ("A damaged archive says so: pack it again, or import the folder itself.", "/datasets/new"),
        ),
    ),
    Trouble(
        "upload-failed",
        "Upload failed",
        "importing",
        (
            ("See how much room the disk has left.", "/settings#storage"),
            ("An upload that broke off goes on where it was: send the same file again.", "/datasets/new"),
            ("Check who may write into the home that the settings name, or send a smaller ZIP.", "/settings#storage"),
        ),
    ),
    Trouble(
        "tagging-failed",
        "Tagging failed",
        "captioning",
        (
            (
                "A tagger's model is fetched first: it needs the internet once, and 2 to 3 GB of disk.",
                "/settings#storage",
            ),
            ("Choose another tagger.", "/datasets"),
            ("Where memory ran out, take a smaller batch size.", "/datasets"),
        ),
    ),
    Trouble(
        "tags-too-generic",
        "Tags too generic/specific",
        "captioning",
        (
            (
                "Move the threshold: lower gives more tags, higher fewer. 0.35 suits characters, 0.4 busy art.",
                "/datasets",
            ),
            ("Try another tagger, or edit what it said.", "/datasets"),
        ),
    ),
    Trouble(
        "captions-too-long",
        "Captions too long/short",
        "captions",
        (
            ("A base reads 75 tokens at a time; the gallery's query tokens:>75 shows what is cut.", "/datasets"),
            ("Limit the length for all of them at once, or raise the threshold of the tagger.", "/datasets"),
            ("Write the few that matter by hand: below 20 tokens says too little for a scene.", "/datasets"),
        ),
    ),
    Trouble(
        "inconsistent-trigger",
        "Inconsistent trigger words",
        "captions",
        (
            ("The checks list every picture whose caption lacks the word; one click adds it.", "/datasets"),
            ("See that no blacklist or limit takes it away again: put it at the beginning.", "/datasets"),
        ),
    ),
    Trouble(
        "no-effect",
        "The LoRA does nothing, or too little",
        "using",
        (
            ("Write the trigger word into the prompt, as the model's page spells it.", "/models"),
            ("Raise its scale; 0.8 to 1.2 is usual.", "/generate"),
            ("Look at its certificate: it says whether every key arrives in the base.", "/models"),
        ),
    ),
    Trouble(
        "too-strong",
        "Every picture looks like the training set",
        "using",
        (
            ("Lower the scale, or take an earlier checkpoint.", "/generate"),
            ("Train with fewer steps or a lower learning rate, on more varied pictures.", "/models/new"),
        ),
    ),
    Trouble(
        "out-of-memory",
        "Out of memory",
        "training",
        (
            (
                "Low VRAM, batch size 1, rank 8 to 12, gradient checkpointing; the page of the job offers what fits.",
                "/queue",
            ),
            ("A smaller resolution costs the least quality for the most memory.", "/"),
        ),
    ),
)

TIPS: Final = (
    Tips(
        "tips-quality",
        "For the best quality",
        (
            ("Pictures", "Consistent light and style, good composition, representative of what you want to see."),
            ("Captions", "Specific about style, mood, atmosphere, light and composition."),
            ("Steps", "1200 to 1500 for a style."),
            ("Rank", "20 to 32 for what is complex."),
            ("Learning rate", "2e-4 to 3e-4: lower is steadier."),
        ),
    ),
    Tips(
        "tips-faster",
        "Faster training",
        (
            ("Pictures", "10 to 15 representative ones, alike in style and quality, with short clear captions."),
            ("Steps", "800 to 1000 at rank 16."),
            ("Base", "FLUX.1 schnell for speed, dev for quality; SD 1.5 is the quickest to learn on."),
            ("Resolution", "512 for a test, 768 as a balance, 1024 for the last run."),
        ),
    ),
    Tips(
        "tips-memory",
        "Less memory",
        (
            ("Low VRAM", "Switch it on below 24 GB."),
            ("Batch size", "1, with gradient accumulation instead of larger batches."),
            ("Rank", "8 to 12."),
            ("Gradient checkpointing", "Slower by a fifth or so, and much smaller."),
            ("Dataset", "20 to 30 pictures at most, resized to 1024 × 1024."),
        ),
    ),
    Tips(
        "evaluation",
        "Is it good?",
        (
            ("Style consistency", "Does it show the style in every picture, whatever the subject?"),
            ("Trigger responsiveness", "Does the word switch it on, and its absence off? Compare without adapter."),
            ("Flexibility", "Does it work with subjects and compositions that were never trained?"),
            ("Artifact level", "Hands, edges, repeated textures: look at full size."),
            ("Versatility", "Several seeds, several prompts, several scales: a grid shows them beside each other."),
        ),
    ),
    Tips(
        "improving",
        "Making it better",
        (
            ("Low quality", "More steps, better pictures."),
            ("Inconsistent", "Better captions, more varied pictures."),
            ("Overfitted", "A lower learning rate, fewer steps, regularisation pictures."),
            ("Underfitted", "A higher rank, more steps, a higher learning rate."),
            ("In rounds", "Train, test, name what is wrong, change one thing, train again. Versions keep every step."),
            ("In stages", "1000 steps for the ground, 500 to refine, 300 to polish: continue from the checkpoint."),
        ),
    ),
    Tips(
        "using-it",
        "Using it",
        (
            ("Prompt", "The trigger word and the subject: “ohwx on a beach, golden hour”."),
            ("Negative prompt", "What shall not be there: blurry, extra fingers, text."),
            ("LoRA scale", "0.8 to 1.2 suits most; below that it mixes better with others."),
            ("Guidance scale", "5-7 creative, 7-10 accurate."),
            ("Several at once", "<lora:style1:0.7> <lora:style2:0.3>: let their scales add up to about 1."),
            ("Prompts that worked", "Keep them on the page Generate, with all their settings."),
        ),
    ),
)

KEYS: Final = (
    ("Ctrl K", "go anywhere"),
    ("/", "search on this page"),
    ("n", "create a new model"),
    ("g then d m q w b s", "datasets, models, queue, workspace, bases, settings"),
    ("?", "the keys of this page"),
    ("j k", "next and previous in a list"),
    ("Ctrl Enter", "save, or generate"),
    ("Esc", "close a window"),
)

TOPICS: Final = (
    Topic("start", "First steps", "begin tour"),
    *(Topic(one.id, f"Guide: {one.title[0].lower()}{one.title[1:]}", "how many pictures captions") for one in GUIDES),
    Topic("messages", "Messages and their cures", "errors troubleshooting"),
    *(Topic(one.id, one.message, f"{one.where} help cure error") for one in TROUBLES),
    *(Topic(one.id, one.title, " ".join(word for word, _ in one.lines)) for one in TIPS),
    Topic("query", "The query language", "search filter gallery"),
    Topic("keys", "Keys", "shortcuts keyboard"),
)


def places() -> list[dict[str, str]]:
    """Sections of the help, for the palette."""
    return [{"word": topic.title, "address": f"/help#{topic.id}", "kind": "help"} for topic in TOPICS]
