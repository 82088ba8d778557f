"""The calculator against what training really does, and against the formulas of others worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorasmith.calculator import Calculation, calculate, question
from lorasmith.calculator.formulas import doubled, kohya, origin
from lorasmith.cli.calculate import _told
from lorasmith.datasets.manifest import Clip, DatasetVersion, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, LorasmithError
from lorasmith.events import Progress
from lorasmith.jobfolder import Result
from lorasmith.studio import Studio

SHAPES = ((64, 64), (64, 64), (64, 64), (96, 64), (96, 64), (64, 128), (128, 64))


def plain(**values: Any) -> Calculation:
    return calculate(question(values))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    folder = tmp_path / "cats"
    folder.mkdir()
    for number, size in enumerate(SHAPES):
        Image.new("RGB", size, (30 * number, 90, 20)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a cat, number {number}")
    studio = Studio(tmp_path / "home")
    studio.import_dataset(folder, "cats")
    return studio


def with_roles(studio: Studio, roles: dict[str, str], repeats: dict[str, int]) -> DatasetVersion:
    version = studio.dataset("cats")
    items = [
        replace(item, role=roles.get(item.name, "train"), repeats=repeats.get(item.name, 1)) for item in version.items
    ]
    return DatasetStore(studio.home).commit(version, items, Operation(name="roles"))


def test_one_length_gives_the_others() -> None:
    by_epochs = plain(pictures=24, repeats=10, batch_size=2, epochs=8)
    assert (by_epochs.steps, by_epochs.exposures_per_image, by_epochs.per_epoch) == (960, 80, 240)
    assert plain(pictures=24, repeats=10, batch_size=2, steps=960).epochs == 8
    assert plain(pictures=24, repeats=10, batch_size=2, exposures=80).steps == 960
    assert plain(pictures=24, repeats=10, batch_size=2, accumulation=4, epochs=8).steps == 240
    assert plain(pictures=7, batch_size=2, epochs=1).steps == 4  # no picture is dropped


@given(
    pictures=st.integers(1, 300), regularisation=st.integers(0, 100), repeats=st.integers(1, 20),
    batch_size=st.integers(1, 16), accumulation=st.integers(1, 8), exposures=st.integers(1, 200),
)  # fmt: skip
def test_no_length_falls_short_of_what_was_asked(**values: int) -> None:
    found = plain(**values)
    window = values["batch_size"] * values["accumulation"]
    assert found.exposures_per_image >= values["exposures"]
    one_less = Fraction((found.steps - 1) * window * values["repeats"], found.per_epoch)
    assert found.steps == 1 or one_less < values["exposures"]
    assert found.least <= found.exposures_per_image <= found.most
    again = plain(**{**values, "exposures": None, "steps": found.steps})
    assert (again.epochs, again.exposures_per_image) == (found.epochs, found.exposures_per_image)


def test_the_notebooks_formula_and_its_warnings() -> None:
    assert origin(24 * 10, Fraction(8), 2).steps == 960
    assert origin(7, Fraction(1), 2).steps == 3  # the odd one is dropped
    assert "underfit" in origin(10, Fraction(10), 1).note and "overfit" in origin(100, Fraction(51), 1).note
    assert origin(500, Fraction(1), 1).note == "" == origin(5000, Fraction(1), 1).note
    found = plain(pictures=25, repeats=10, epochs=4)
    assert found.rental == (2000, 4000) and found.at_home == (3000, 6000)


def test_kohya_rounds_up_in_every_bucket_and_doubles_for_regularisation() -> None:
    found = kohya([5, 3, 1], 4, 1, Fraction(10), None)
    assert (found.steps_per_epoch, found.steps, found.epochs) == (4, 40, 10) and "3 of its batches" in found.note
    assert kohya([5, 3, 1], 4, 3, Fraction(10), None).steps_per_epoch == 2
    assert kohya([8], 4, 1, Fraction(5, 2), None).epochs == 3  # whole epochs alone
    by_steps = kohya([8], 4, 1, Fraction(1), 7)
    assert (by_steps.steps, by_steps.epochs) == (7, 4)
    assert plain(pictures=20, regularisation=3, epochs=1).kohya.steps == 40
    assert plain(pictures=20, regularisation=3, epochs=1).steps == 23  # ours shows them as they are


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_regularisation_pictures_take_turns_until_they_are_as_many(train: list[int], beside: list[int]) -> None:
    shown = doubled(train, beside)
    assert len(shown) == len(beside)
    last = max(place for place, times in enumerate(shown) if times)
    assert sum(train) <= sum(shown) < sum(train) + beside[last]  # the last of a turn may go beyond
    if sum(beside) <= sum(train):
        assert all(own <= times for own, times in zip(beside, shown, strict=True))
        more = [times - own for own, times in zip(beside, shown, strict=True)]
        assert max(more) - min(more) <= 1


def test_a_dataset_is_counted_as_training_deals_from_it(studio: Studio) -> None:
    for batch, accumulation, steps in ((2, 1, 10), (3, 2, 7), (1, 1, 4)):
        config = {
            "base": "sandbox", "trigger_word": "ohwx", "max_train_steps": steps, "train_batch_size": batch,
            "gradient_accumulation_steps": accumulation, "data.resolution": 64, "data.repeats": 2,
        }  # fmt: skip
        planned = studio.plan("cats", config)
        found = studio.calculate(
            dataset="cats", base="sandbox", resolution=64, repeats=2, batch_size=batch, accumulation=accumulation,
            steps=steps,
        )  # fmt: skip
        assert (found.steps, found.exposures, found.pictures) == (planned.steps, planned.exposures, planned.pictures)
        assert found.epochs == pytest.approx(planned.epochs)
        assert found.least <= planned.least_exposures and planned.most_exposures <= found.most
        assert {(b.width, b.height): b.pictures for b in found.buckets} == {
            (b.width, b.height): len(b.placed) for b in planned.buckets
        }


def test_roles_and_repeats_of_pictures_count(studio: Studio) -> None:
    with_roles(studio, {"0.png": "regularisation", "1.png": "validation"}, {"2.png": 3})
    found = studio.calculate(dataset="cats", resolution=64, family="sd", epochs=2)
    assert (found.pictures, found.regularisation, found.left_out) == (5, 1, 1)
    assert found.per_epoch == 4 + 3 + 1 and found.steps == 16 and found.repeats == pytest.approx(7 / 5)
    assert found.origin.steps == 14  # it knows nothing of regularisation
    assert any("regularisation" in one.sentence for one in found.cautions)
    assert any("not trained on" in one.sentence for one in found.cautions)


def test_kohyas_buckets_are_its_own(studio: Studio) -> None:
    found = studio.calculate(dataset="cats", family="sd", resolution=512, batch_size=4, epochs=1)
    theirs = [math.ceil(load / 4) for load in (3, 2, 1, 1)]  # 512x512, 3:2, 1:2 and 2:1
    assert found.kohya.steps == sum(theirs) and "4 buckets" in found.kohya.words


def test_cautions_say_why() -> None:
    for values, said in (
        ({"pictures": 20, "epochs": 2}, "underfit"),
        ({"pictures": 20, "epochs": 900}, "by heart"),
        ({"pictures": 20, "steps": 5}, "never shown"),
        ({"pictures": 3, "batch_size": 8, "epochs": 50}, "more than once"),
        ({"pictures": 20, "batch_size": 8, "accumulation": 8, "epochs": 50}, "more than an epoch"),
        ({"pictures": 20, "regularisation": 20, "epochs": 50}, "50%"),
    ):
        cautions = plain(**values).cautions
        assert any(said in one.sentence for one in cautions), (values, cautions)
        assert all(one.reason for one in cautions)
    assert plain(pictures=20, epochs=80, batch_size=2).cautions == ()


def test_time_is_measured_or_given_and_says_which(studio: Studio) -> None:
    asked = {"pictures": 20, "epochs": 5, "base": "sandbox"}
    assert studio.calculate(**asked).times == ()
    (given,) = studio.calculate(**asked, seconds_per_step=1.5).times
    assert (given.source, given.seconds) == ("given", 150)
    config = {"base": "sandbox", "trigger_word": "ohwx", "max_train_steps": 4, "train_batch_size": 1}
    row = studio.enqueue.train("cats", config)
    folder = studio.queue.job(row.id).folder
    folder.emit(Progress(4, 4, unit="steps", per_second=4.0))
    folder.set_result(Result(outcome="succeeded", output={}))
    studio.rebuild_queue()
    measured = studio.calculate(**asked, seconds_per_step=1.5).times
    assert [(one.source, one.seconds_per_step) for one in measured] == [("measured", 0.25), ("given", 1.5)]
    assert measured[0].job == row.id and measured[0].seconds == 25


@pytest.mark.parametrize(
    "values",
    [
        {}, {"pictures": 0}, {"pictures": -3}, {"pictures": 10, "epochs": 0}, {"pictures": 10, "batch_size": 0},
        {"pictures": 10, "epochs": "x"}, {"pictures": 10, "epochs": "nan"}, {"pictures": 10, "epochs": "inf"},
        {"pictures": 10, "epochs": 1, "steps": 4}, {"pictures": 10, "steps": 4, "exposures": 3}, {"picures": 10},
        {"pictures": 1_000_000, "repeats": 10_000, "epochs": 1000}, {"pictures": 10, "steps": 10**9},
        {"pictures": 10, "steps": 1_000_000, "accumulation": 4096}, {"dataset": "dogs"}, {"pictures": "__class__"},
        {"dataset": "cats", "base": "nowhere"}, {"dataset": "cats", "family": "nothing"},
        {"dataset": "cats", "resolution": 1}, {"pictures": 10, "seconds_per_step": -1},
    ],
)  # fmt: skip
def test_numbers_that_make_no_run_are_refused_in_a_sentence(studio: Studio, values: dict[str, Any]) -> None:
    with pytest.raises(LorasmithError) as refusal:
        studio.calculate(**values)
    assert refusal.value.message.endswith(".") and refusal.value.hint


def test_a_dataset_without_pictures_to_learn_is_refused(studio: Studio) -> None:
    with_roles(studio, {f"{n}.png": "regularisation" for n in range(len(SHAPES))}, {})
    with pytest.raises(DatasetError, match="No picture"):
        studio.calculate(dataset="cats", family="sd", resolution=64)


def test_two_lengths_are_named() -> None:
    with pytest.raises(ConfigError, match="epochs and as steps"):
        question({"pictures": 4, "epochs": 1, "steps": 2})


def test_the_formulas_need_no_model_library() -> None:
    import subprocess
    import sys

    code = "import sys, lorasmith.calculator; sys.exit(bool({'torch', 'diffusers', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_held_out_pictures_of_plain_numbers_are_held_out() -> None:
    found = plain(pictures=20, validation_fraction=0.1, epochs=30)
    assert (found.pictures, found.left_out, found.per_epoch) == (18, 2, 18)
    assert any(one.sentence == "2 pictures are not trained on." for one in found.cautions)
    assert plain(pictures=1, validation_fraction=0.5).left_out == 0  # the only one is learned
    assert plain(pictures=5, validation_fraction=0.01).left_out == 1


def test_who_is_never_shown_is_told_from_who_may_not_be() -> None:
    """Of 200 exposures to 20 pictures, half a pass shows each of them five times in the mean; one of ten shows ten."""

    def said(**values: Any) -> list[str]:
        return [one.sentence for one in plain(pictures=20, **values).cautions if "never" in one.sentence]

    assert said(repeats=10, steps=100) == ["Some pictures may never be shown."]
    assert said(repeats=10, steps=10) == ["Some pictures are never shown."]
    assert said(repeats=10, steps=400) == [] == said(steps=20)


def test_a_bucket_that_waits_may_show_nothing(studio: Studio) -> None:
    found = studio.calculate(dataset="cats", resolution=64, family="sd", batch_size=4, steps=2)
    assert found.epochs > 1 and found.least == 0
    (one,) = (one for one in found.cautions if "never" in one.sentence)
    assert one.sentence == "Some pictures may never be shown." and "waits for its turn" in one.reason


def test_what_a_dataset_lacks_for_its_family_is_said(studio: Studio) -> None:
    def said(family: str) -> str:
        found = studio.calculate(dataset="cats", resolution=64, family=family, epochs=30)
        return " ".join(one.sentence for one in found.cautions)

    assert "7 of 7 pictures have fewer references than FLUX.1 Kontext needs" in said("flux_kontext")
    assert "references" not in said("sd") and "clips" not in said("sd")
    version = studio.dataset("cats")
    moving = Clip(video=version.items[0].image, frames=40, fps=16.0, width=64, height=64)
    items = [
        replace(item, clip=moving if item.name == "0.png" else None, references=(item.image,)) for item in version.items
    ]
    DatasetStore(studio.home).commit(version, items, Operation(name="test"))
    assert "references" not in said("flux_kontext")
    assert "takes no references" in said("flux") and "1 of 7 are clips, and FLUX.1 learns pictures" in said("flux")
    found = studio.calculate(dataset="cats", resolution=64, family="wan", epochs=30)
    assert {one.title: one.pictures for one in found.buckets}["64 × 64 × 33"] == 1
    assert not any("clips" in one.sentence for one in found.cautions)


def test_one_of_a_thing_is_one() -> None:
    found = plain(pictures=1)
    told = "\n".join(_told(found))
    assert "1 step = 1 epoch of 1 step" in told and "shown 1 time; 1 exposure in all" in told
    assert "1 picture an epoch" in told and "1 batch in 1 bucket = 1 step an epoch, 1 epoch" in told
    assert found.cautions[0].sentence == "Each picture is shown once: it may underfit."
    assert "1,000,000 steps = 1,000,000 epochs" in "\n".join(_told(plain(pictures=1, steps=1_000_000)))
