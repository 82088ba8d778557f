"""Models that see and write, with tiny random ones of the real classes: asking, chance, beams, cuts, refusals."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lorasmith.captioners import Answer, Failure, Known
from lorasmith.captioners.blip import Blip
from lorasmith.captioners.florence2 import Florence2, in_words
from lorasmith.captioners.joycaption import JoyCaption, request
from lorasmith.captioners.qwen_vl import QwenVL
from lorasmith.captioners.run import captioners, read_options
from lorasmith.captioners.seeing import SeeingCaptioner, devices, whole_answer
from lorasmith.captioners.seeing.chat import in_chat
from lorasmith.captioners.seeing.drawing import DrawEachRow
from lorasmith.captioners.seeing.opening import Said
from lorasmith.captioners.seeing.trimming import end_whole
from lorasmith.captioners.vision_language import VisionLanguage
from lorasmith.errors import ConfigError, EnvironmentProblem, InputError, OutOfMemory
from tests.captioners.tiny_models import KINDS, WORDS, write_tiny

CAPTIONER = {
    "blip": "blip", "blip2": "blip2", "blip2_t5": "blip2", "florence2": "florence2", "llava": "joycaption",
    "qwen2_5_vl": "qwen_vl", "qwen3_vl": "qwen_vl",
}  # fmt: skip
PICTURES = [Image.linear_gradient("L").resize(size).convert("RGB") for size in ((40, 30), (20, 64), (33, 33), (16, 90))]
for picture, color in zip(PICTURES, ("red", "blue", "lime", "white"), strict=True):
    picture.paste(color, (0, 0, picture.width, picture.height // 2))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models, by kind."""
    folder = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        write_tiny(folder / kind, kind)
    return folder


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Path:
    """A tiny Qwen2.5-VL to spoil."""
    return Path(shutil.copytree(models / "qwen2_5_vl", tmp_path / "model"))


def opened(models: Path, kind: str, captioner: str = "", **options: Any) -> SeeingCaptioner:
    plugin = type(captioners()[captioner or CAPTIONER[kind]])()
    assert isinstance(plugin, SeeingCaptioner)
    given = {"max_new_tokens": 12, **options, "model": str(models / kind)}
    plugin.load(read_options(plugin, given), device="cpu")
    return plugin


def texts(answers: Sequence[Answer | Failure]) -> list[str]:
    return [one.caption if isinstance(one, Answer) else one.reason for one in answers]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attempt", [0, 1])
def test_a_picture_is_answered_alike_alone_and_among_others(models: Path, kind: str, attempt: int) -> None:
    plugin = opened(models, kind, temperature=0)
    together = texts(plugin.caption(PICTURES, attempt=attempt))
    assert together == [texts(plugin.caption([one], attempt=attempt))[0] for one in PICTURES]
    assert texts(plugin.caption(PICTURES[::-1], attempt=attempt)) == together[::-1]
    assert len(set(together)) > 1  # it looks at them


@pytest.mark.parametrize("kind", KINDS)
def test_another_attempt_is_another_answer_and_the_same_is_the_same(models: Path, kind: str) -> None:
    plugin = opened(models, kind)
    first, second = texts(plugin.caption(PICTURES)), texts(plugin.caption(PICTURES, attempt=1))
    assert first != second
    assert texts(plugin.caption(PICTURES, attempt=1)) == second
    other = opened(models, kind, seed=5)
    assert texts(other.caption(PICTURES, attempt=1)) != second
    assert other.identity().key != plugin.identity().key


@pytest.mark.parametrize("kind", KINDS)
def test_answers_hold_neither_the_prompt_nor_signs(models: Path, kind: str) -> None:
    plugin = opened(models, kind, max_new_tokens=40)
    own = {*WORDS, "unknown", "photo", "of", ".", ","}
    for text in texts(plugin.caption(PICTURES, attempt=1)):
        assert text and set(text.replace(",", " , ").replace(".", " . ").split()) <= own


@pytest.mark.parametrize("kind", ["blip", "blip2", "blip2_t5", "florence2"])
def test_beams_are_searched_unless_one_is_asked_for(models: Path, kind: str) -> None:
    plugin = opened(models, kind)
    beams = plugin.search().num_beams
    assert beams > 1  # by default
    plugin.caption(PICTURES[:3])
    assert plugin.opened().asked[0][0] == 3 * beams
    greedy = opened(models, kind, num_beams=1)
    greedy.caption(PICTURES[:3])
    assert greedy.opened().asked[0][0] == 3


def test_beams_find_a_likelier_sentence_than_greed(models: Path) -> None:
    plugin = opened(models, "blip", num_beams=6, max_new_tokens=8, min_new_tokens=8, repetition_penalty=1)
    greedy = opened(models, "blip", num_beams=1, max_new_tokens=8, min_new_tokens=8, repetition_penalty=1)
    model = plugin.opened()

    def likelihood(one: SeeingCaptioner, image: Image.Image) -> float:
        asked, seen = one.opened(), []
        inputs = one.look(asked, [image], [""])
        tokens = asked.ask(inputs, one.search())[0].tokens
        ids = torch.tensor([[4, *tokens]])
        with torch.inference_mode():
            embedded = model.model.vision_model(pixel_values=inputs["pixel_values"])[0]
            logits = model.model.text_decoder(input_ids=ids, encoder_hidden_states=embedded).logits
        for at, token in enumerate(tokens):
            seen.append(torch.log_softmax(logits[0, at], -1)[token].item())
        return sum(seen)

    pairs = [(likelihood(plugin, one), likelihood(greedy, one)) for one in PICTURES]
    assert all(by_beams >= by_greed - 1e-4 for by_beams, by_greed in pairs)
    assert any(by_beams > by_greed + 1e-3 for by_beams, by_greed in pairs)


@pytest.mark.parametrize("kind", ["blip", "blip2", "blip2_t5"])
def test_a_prefix_begins_the_sentence_and_is_no_part_of_it(models: Path, kind: str) -> None:
    plain, told = opened(models, kind), opened(models, kind, prefix="a photo of")
    assert texts(told.caption(PICTURES)) != texts(plain.caption(PICTURES))
    told.caption(PICTURES)
    assert told.opened().asked[0][1] > plain.opened().asked[0][1] or kind == "blip2_t5"
    for text in texts(told.caption(PICTURES)):
        assert not text.startswith("a photo of")


# Chance


def test_rows_are_drawn_as_likely_as_they_are() -> None:
    scores = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).repeat(4000, 1)
    drawn = DrawEachRow(range(4000), 1.0, 1.0)(None, scores).argmax(-1).tolist()
    shares = [Counter(drawn)[token] / 4000 for token in range(4)]
    assert shares == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)  # five standard errors
    nucleus = DrawEachRow(range(4000), 1.0, 0.75)(None, scores).argmax(-1).tolist()
    assert set(nucleus) == {0, 1}
    assert Counter(nucleus)[0] / 4000 == pytest.approx(0.5 / 0.8, abs=0.04)
    assert set(DrawEachRow(range(50), 0.01, 1.0)(None, scores[:50]).argmax(-1).tolist()) == {0}


def test_a_row_is_drawn_whatever_the_others_are() -> None:
    scores = torch.randn(3, 60, generator=torch.Generator().manual_seed(1))
    one, all_of_them = DrawEachRow([7], 1.0, 0.9), DrawEachRow([3, 7, 9], 1.0, 0.9)
    for _ in range(20):
        assert torch.equal(one(None, scores[1:2]), all_of_them(None, scores)[1:2])


# Cuts


def test_a_cut_answer_ends_with_something_whole_and_says_so(models: Path) -> None:
    plugin = opened(models, "qwen2_5_vl", max_new_tokens=6)
    answers = plugin.caption(PICTURES)
    cut = [one for one in answers if isinstance(one, Answer) and one.note]
    assert cut
    assert all("cut at 6 tokens" in one.note and "max_new_tokens" in one.note for one in cut)


@pytest.mark.parametrize(
    ("text", "whole", "how"),
    [
        ("A cat sits. It is red. Behind it a tr", "A cat sits. It is red.", "sentence"),
        ('She says "stop!" and th', 'She says "stop!"', "sentence"),
        ("A photo by Dr. Smi", "A photo by Dr.", "word"),
        ("1girl, solo, long hair, blue ey", "1girl, solo, long hair", "tag"),
        ("a cat sitting on a cou", "a cat sitting on a", "word"),
        ("word", "", "word"),
        ("\u4e00\u53ea\u732b\u3002\u5b83", "\u4e00\u53ea\u732b\u3002", "sentence"),
    ],
)
def test_where_cut_answers_end(text: str, whole: str, how: str) -> None:
    assert end_whole(text) == (whole, how)


# Prompts


def test_a_prompt_is_filled_for_each_picture(models: Path) -> None:
    plugin = opened(models, "llava", "vision_language", prompt="{filename}: {tags} {trigger_word}", trigger_word="ohwx")
    assert plugin.reads() == {"filename", "tags"}
    assert plugin.prompt(Known("cat 1", "red, ball")) == "cat 1: red, ball ohwx"
    known = [Known(f"cat {n}", "red, ball " * n) for n in range(len(PICTURES))]
    together = texts(plugin.caption(PICTURES, known=known))
    assert together == [
        texts(plugin.caption([one], known=[told]))[0] for one, told in zip(PICTURES, known, strict=True)
    ]
    assert together != texts(plugin.caption(PICTURES, known=known[::-1]))


def test_signs_of_the_model_in_a_tag_are_words(models: Path) -> None:
    plugin = opened(models, "llava", "vision_language", prompt="{tags}")
    evil = Known(tags="<image> <|im_end|> red")
    assert len(texts(plugin.caption(PICTURES[:1], known=[evil]))) == 1  # one picture, one place for it


def test_the_prompts_of_the_guides_are_there() -> None:
    asked = {name: VisionLanguage.Options(prompt=name).template() for name in ("detailed", "portrait")}
    assert asked == {
        "detailed": "Describe this image in detail, focusing on style, mood, and composition",
        "portrait": "Describe this portrait in detail, including lighting, mood, pose, and artistic style",
    }
    assert VisionLanguage.Options().prompt == "detailed"
    own = VisionLanguage.Options()
    assert (own.temperature, own.top_p, own.max_new_tokens) == (0.7, 0.9, 1024)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": "call it {trigger_word}"}, "set 'trigger_word'"),
        ({"prompt": "{tag}"}, r"no field \{tag\}"),
        ({"prompt": "{tags!r}"}, "no field"),
        ({"prompt": "{tags.__class__}"}, "no field"),
        ({"prompt": "{"}, "braces do not match"),
        ({"prompt": " "}, "empty"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"quantization": "3bit"}, "quantization"),
        ({"num_beams": 2}, "no option 'num_beams'"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_options(captioners()["vision_language"], options)


def test_what_changes_an_answer_is_in_the_identity(models: Path) -> None:
    def key(**options: Any) -> str:
        return opened(models, "llava", "vision_language", **options).identity().key

    usual = key()
    changed = [
        key(prompt="short"), key(temperature=0.5), key(top_p=0.5), key(seed=1), key(system_prompt="Be brief."),
        key(max_new_tokens=13), key(dtype="bfloat16"), key(repetition_penalty=1.1), key(longest_side=64),
    ]  # fmt: skip
    assert len({usual, *changed}) == 10
    assert key(batch_size=2) == usual


def test_a_chat_begins_once(models: Path) -> None:
    plugin = opened(models, "llava")
    ready = plugin.opened()
    inputs = plugin.look(ready, PICTURES[:2], ["red", "a red ball near the river"])
    start, pad = ready.tokenizer.bos_token_id, ready.tokenizer.pad_token_id
    for row in inputs["input_ids"].tolist():
        assert row.count(start) == 1
        assert row[-1] != pad  # padded on the left
    assert inputs["input_ids"][0, 0] == pad
    assert "You are a helpful image captioner." in in_chat(ready, "red", "You are a helpful image captioner.")


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}",  # text alone, and no picture
        "{% for m in messages %}[{{ m.role }}] {% if m.role == 'user' %}<image> {% endif %}{{ m.content | trim }}\n"
        "{% endfor %}",  # text alone, and it adds the picture
        "{% for m in messages %}[{{ m.role }}] {% for p in m.content %}{{ '<image>' if p.type == 'image' else p.text }}"
        "{% endfor %}\n{% endfor %}",
    ],
)
def test_templates_of_all_kinds_show_one_picture_and_all_words(models: Path, template: str) -> None:
    ready = opened(models, "llava").opened()
    ready.processor.chat_template = template
    text = in_chat(ready, "What is red?", "Be brief.")
    assert text.count("<image>") == 1 and "What is red?" in text and "Be brief." in text
    assert "'type'" not in text and "'text'" not in text


def test_a_template_that_leaves_something_out_is_not_used(models: Path) -> None:
    ready = opened(models, "llava").opened()
    ready.processor.chat_template = "<image> {{ messages[-1].content[-1].text }}"
    assert in_chat(ready, "What is red?", "").startswith("<image>")
    with pytest.raises(EnvironmentProblem, match="leaves picture or prompt out") as error:
        in_chat(ready, "What is red?", "Be brief.")
    assert "system_prompt" in error.value.hint


def test_a_tokenizer_without_padding_gets_one(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "llava", tmp_path / "llava"))
    edit(folder / "tokenizer_config.json", pad_token=None)
    plugin = opened(tmp_path, "llava", temperature=0)
    assert texts(plugin.caption(PICTURES)) == texts(opened(models, "llava", temperature=0).caption(PICTURES))


def test_thoughts_are_no_caption() -> None:
    assert whole_answer(Said("<think> a cat? </think> A cat.", (), False), 9) == Answer("A cat.")
    assert whole_answer(Said("a cat? </think> A cat.", (), False), 9) == Answer("A cat.")
    unfinished = whole_answer(Said("<think> a cat, or", (), True), 9)
    assert isinstance(unfinished, Failure) and "still thinking" in unfinished.reason


def test_an_answer_has_no_more_tokens_than_the_model_has_places(models: Path) -> None:
    plugin = opened(models, "blip", max_new_tokens=200, num_beams=1)
    assert len(plugin.caption(PICTURES[:1])) == 1
    told = opened(models, "blip2", prefix="red " * 55, max_new_tokens=75, num_beams=1)
    assert len(told.caption(PICTURES[:1])) == 1
    told = opened(models, "blip2", prefix="red " * 90)
    with pytest.raises(InputError, match="too long"):
        told.caption(PICTURES[:1])


def test_qwen_looks_at_no_more_than_wanted(models: Path) -> None:
    large = Image.new("RGB", (64, 64), "red")
    wide = opened(models, "qwen2_5_vl")
    narrow = opened(models, "qwen2_5_vl", max_pixels=3136)
    wide.caption([large])
    narrow.caption([large])
    assert wide.opened().asked[0][1] > narrow.opened().asked[0][1]
    assert wide.longest_side() == 4 * 64 and narrow.longest_side() == 4 * 56


def test_a_picture_too_narrow_is_to_blame(models: Path) -> None:
    plugin = opened(models, "qwen2_5_vl")
    with pytest.raises(InputError, match="4 x 2000"):
        plugin.caption([Image.new("RGB", (4, 2000))])


# Florence


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "region_proposal"}, "only marks places"),
        ({"task": "referring_expression_segmentation", "input": "a cat"}, "only marks places"),
        ({"task": "caption", "input": "a cat"}, "takes no 'input'"),
        ({"task": "region_to_category"}, "set 'input'"),
        ({"task": "kaption"}, "task"),
        ({"task": "open_vocabulary_detection", "input": "{trigger_word}"}, "trigger word"),
    ],
)
def test_tasks_without_words_or_input_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_options(captioners()["florence2"], options)


@pytest.mark.parametrize("task", ["caption", "ocr", "od", "dense_region_caption", "ocr_with_region", "generate_tags"])
def test_tasks_answer_in_words(models: Path, task: str) -> None:
    for one in opened(models, "florence2", task=task).caption(PICTURES):
        text = one.caption if isinstance(one, Answer) else one.reason
        assert text and "<loc_" not in text and "<" not in text
        assert isinstance(one, Answer) or "found nothing" in text or "no whole word" in text


def test_regions_in_words() -> None:
    box = "<loc_1><loc_2><loc_3><loc_4>"
    assert in_words(f"</s><s>cat{box}dog{box}{box}cat{box}</s>", as_text=False) == "2 x cat, 2 x dog"
    assert in_words(f"a red cat{box}a tr", as_text=False) == "a red cat"  # cut within the next name
    assert in_words(f"STOP{box}{box}SALE{box}{box}", as_text=True) == "STOP / SALE"
    assert in_words(box, as_text=False) == ""


def test_a_task_that_asks_is_asked_with_its_input(models: Path) -> None:
    plugin = opened(models, "florence2", task="caption_to_phrase_grounding", input="{tags}")
    assert plugin.reads() == {"tags"}
    ready = plugin.opened()
    inputs = plugin.look(ready, PICTURES[:1], [plugin.prompt(Known(tags="red ball"))])
    assert "red ball" in ready.tokenizer.decode(inputs["input_ids"][0])


# JoyCaption


def test_joycaption_is_asked_as_it_was_trained() -> None:
    assert request("descriptive", "any") == "Write a descriptive caption for this image in a formal tone."
    assert (
        request("descriptive", "very long") == "Write a very long descriptive caption for this image in a formal tone."
    )
    assert request("midjourney", "40") == "Write a MidJourney prompt for this image within 40 words."
    told = JoyCaption.Options.model_validate(
        {"extra": "lighting, name", "character_name": "{Jo}", "caption_length": 60}
    )
    assert "Call the person or character in the image {{Jo}}." in told.template()  # braces stay braces
    assert JoyCaption.Options(prompt="portrait").template().startswith("Describe this portrait")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"caption_length": "25"}, "20 to 260"),
        ({"caption_length": "270"}, "20 to 260"),
        ({"caption_length": "huge"}, "very long"),
        ({"extra": "name"}, "character_name"),
        ({"extra": "lightning"}, "extra"),
        ({"caption_type": "poem"}, "caption_type"),
        ({"caption_type": "danbooru_tags", "model": "joycaption-alpha-two"}, "beta-one"),
    ],
)
def test_requests_that_joycaption_does_not_know(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_options(captioners()["joycaption"], options)


@pytest.mark.parametrize("kind", JoyCaption.Options.model_fields["caption_type"].annotation.__args__)  # type: ignore[union-attr]
def test_every_type_and_length_makes_a_request(kind: str) -> None:
    for length in ("any", "short", "100"):
        asked = request(kind, length)
        assert asked.startswith(("Write a ", "Write an ")) and asked.endswith(".") and "  " not in asked


# What is refused


def refusal(folder: Path, captioner: SeeingCaptioner | None = None, **options: Any) -> EnvironmentProblem:
    plugin = captioner or VisionLanguage()
    with pytest.raises(EnvironmentProblem) as error:
        plugin.load(read_options(plugin, {"model": str(folder), **options}), device="cpu")
    assert error.value.hint
    return error.value


def edit(file: Path, **changes: Any) -> None:
    document = json.loads(file.read_text(encoding="utf-8"))
    document.update(changes)
    file.write_text(json.dumps({k: v for k, v in document.items() if v is not None}), encoding="utf-8")


def test_pickles_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "can run programs" in refusal(copy).message


def test_a_missing_shard_is_named(copy: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors is missing" in refusal(copy).message
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "other folders" in refusal(copy).message


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_damaged_configs_are_said(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content)
    assert "config.json" in refusal(copy).message


def test_damaged_weights_are_said(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:-100])
    assert "damaged" in refusal(copy).message
    (copy / "model.safetensors").unlink()
    assert "no weights" in refusal(copy).message


def test_holes_in_the_weights_are_not_filled_with_chance(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    name = next(key for key in tensors if "layers.0.mlp" in key)
    save_file(
        {key: value for key, value in tensors.items() if key != name}, copy / "model.safetensors", {"format": "pt"}
    )
    assert "do not fill" in refusal(copy).message
    tensors[name] = torch.zeros(3, 3)
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    assert "do not fill" in refusal(copy).message


def test_another_architecture_is_named(models: Path, copy: Path) -> None:
    assert "of the kind 'llava'" in refusal(models / "llava", QwenVL()).message
    assert "vision_language" in refusal(models / "llava", Blip()).hint
    edit(copy / "config.json", model_type="bert")
    assert "does not write about pictures" in refusal(copy).message
    edit(copy / "config.json", model_type="never_heard")
    assert "does not know" in refusal(copy).message


def test_no_code_of_a_model_is_run(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for name in ("modeling_evil.py", "processing_evil.py"):
        (copy / name).write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    for file in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        links = {"AutoConfig": "modeling_evil.Evil", "AutoProcessor": "processing_evil.Evil"}
        edit(copy / file, auto_map={**links, "AutoModelForImageTextToText": "modeling_evil.Evil"})
    plugin = VisionLanguage()
    plugin.load(read_options(plugin, {"model": str(copy), "max_new_tokens": 4}), device="cpu")
    plugin.caption(PICTURES[:1])
    assert not mark.exists()
    edit(copy / "config.json", model_type="evil")
    assert "code of its own repository, which is never run" in refusal(copy).message
    assert not mark.exists()


def test_a_chat_template_stays_in_its_sandbox(copy: Path) -> None:
    for evil in (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ raise_exception('no system prompt') }}",
        "{% endfor %}",
    ):
        (copy / "chat_template.jinja").write_text(evil)
        plugin = VisionLanguage()
        plugin.load(read_options(plugin, {"model": str(copy), "max_new_tokens": 4}), device="cpu")
        with pytest.raises(EnvironmentProblem, match="chat template"):
            plugin.caption(PICTURES[:1])


def test_a_model_without_a_chat_template_cannot_be_talked_to(models: Path) -> None:
    plugin = opened(models, "blip", "vision_language")
    with pytest.raises(EnvironmentProblem, match="no chat template"):
        plugin.caption(PICTURES[:1])


def test_a_missing_processor_is_said(copy: Path) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        (copy / name).unlink(missing_ok=True)
    assert "preprocessor_config.json" in refusal(copy).hint


def test_names_that_are_no_model(tmp_path: Path) -> None:
    assert "There is no model at" in refusal(Path("no such model")).message
    assert "no config.json" in refusal(tmp_path).message
    with pytest.raises(ConfigError, match="which model"):
        VisionLanguage().load(VisionLanguage.Options(), device="cpu")


# Devices and memory


def test_what_does_not_fit_is_refused_before_it_is_loaded(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_free", lambda device: 1000)
    with pytest.raises(OutOfMemory, match="needs about") as error:
        opened(models, "blip")
    assert "4bit" in error.value.hint


def test_the_numbers_are_those_that_fit(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = opened(models, "blip").opened().folder
    monkeypatch.setattr(devices, "_free", lambda device: folder.memory(32) - 1)
    halved = opened(models, "blip")
    assert halved.opened().choice.precision == "bfloat16"
    assert next(halved.opened().model.parameters()).dtype == torch.bfloat16
    assert "bfloat16" in halved.device()
    assert isinstance(halved.caption(PICTURES)[0], Answer)


@pytest.mark.parametrize(
    ("device", "options", "words"),
    [
        ("tpu", {}, "no device called 'tpu'"),
        ("cuda", {}, "no cuda device"),
        ("cpu", {"quantization": "4bit"}, "bitsandbytes|NVIDIA"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_devices_that_are_not_here(models: Path, device: str, options: dict[str, Any], words: str) -> None:
    plugin = Blip()
    with pytest.raises(EnvironmentProblem, match=words) as error:
        plugin.load(read_options(plugin, {"model": str(models / "blip"), **options}), device=device)
    assert error.value.hint


@pytest.fixture
def short_of_memory(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeeingCaptioner]:
    plugin = opened(models, "blip")
    real = plugin.opened().model.generate

    def generate(**inputs: Any) -> Any:
        if len(inputs["pixel_values"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(**inputs)

    monkeypatch.setattr(plugin.opened().model, "generate", generate)
    return plugin  # type: ignore[return-value]


@pytest.mark.parametrize("kind", KINDS)
def test_what_sees_and_what_speaks_is_not_quantised(models: Path, kind: str) -> None:
    from transformers.quantizers.quantizers_utils import should_convert_module

    model = opened(models, kind).opened().model
    linear = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    reduced = {name for name in linear if should_convert_module(name, list(devices.KEPT_WHOLE))}
    sees = {name for name in linear if "vision" in name or "visual" in name or "projector" in name or "qformer" in name}
    assert sees and not reduced & sees
    assert not any(name.endswith("lm_head") or ".cls." in name for name in reduced)
    assert len(reduced) >= 8  # the layers that write


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="it is here")
def test_what_is_missing_is_said_before_a_download(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="bitsandbytes") as error:
        JoyCaption().need(JoyCaption.Options(quantization="4bit"), home=tmp_path)
    assert "lorasmith[quantize]" in error.value.hint


def test_too_many_at_a_time_is_said_as_such(short_of_memory: SeeingCaptioner) -> None:
    with pytest.raises(OutOfMemory, match="4 pictures at a time"):
        short_of_memory.caption(PICTURES)
    assert len(short_of_memory.caption(PICTURES[:2])) == 2


def test_other_failures_of_a_model_are_not_taken_for_memory(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = opened(models, "blip")

    def generate(**inputs: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(plugin.opened().model, "generate", generate)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        plugin.caption(PICTURES)


def test_need_tells_memory_of_what_is_here_and_files_of_what_is_not(models: Path, tmp_path: Path) -> None:
    here = Florence2().need(Florence2.Options(model=str(models / "florence2")), home=tmp_path)
    assert not here.lacks and here.memory and here.memory > 4 * 1000
    halved = Florence2().need(Florence2.Options(model=str(models / "florence2"), dtype="bfloat16"), home=tmp_path)
    assert halved.memory == pytest.approx(here.memory / 2, abs=1)
    there = JoyCaption().need(JoyCaption.Options(), home=tmp_path)
    assert there.lacks and there.repository == "fancyfeast/llama-joycaption-beta-one-hf-llava"
    assert there.bytes_to_load == 17_000_000_000 and "Llama" in there.licence
    foreign = VisionLanguage().need(VisionLanguage.Options(model="somebody/some-model"), home=tmp_path)
    assert foreign.repository == "somebody/some-model" and foreign.bytes_to_load == 0
    assert foreign.folder == tmp_path / "captioners" / "somebody--some-model"
