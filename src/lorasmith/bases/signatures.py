"""What the tensors of a base are called, family by family: data, read by ``recognition``.

A table of evidence. It names families that cannot be trained here yet as well, so that a user learns what a file is;
whether a family can be trained is what ``families/`` says. Rules stand in the order in which the first match is the
right one. The facts are those of the programs that load these files: ComfyUI's ``model_detection.py`` for the original
names, the model classes of diffusers for the others.

A rule matches when every key of ``has`` is there (an ending ``*`` means: a key that begins so), none of ``lacks`` is,
and every shape is as told: ``(key, axis, size)``, or ``(key, NDIM, n)`` for the number of axes.
"""

from __future__ import annotations

from dataclasses import dataclass

NDIM = -100
"""In place of an axis: the number of axes."""

ShapeTest = tuple[str, int, int]


@dataclass(frozen=True)
class Rule:
    """Tensors of these names and shapes are the denoiser of this family and variant; ``asks`` names what stays open."""

    family: str
    variant: str
    title: str
    has: tuple[str, ...]
    shapes: tuple[ShapeTest, ...] = ()
    lacks: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    width: tuple[str, int] | None = None
    """Key and axis of the number that is given as evidence when no shape is tested."""
    distilled: str = ""
    """Why its shape alone says that it is distilled to few steps."""


@dataclass(frozen=True)
class Ask:
    """A question that the tensors cannot answer. ``words`` in a file name make an answer likely, never certain."""

    text: str
    choices: tuple[str, ...]
    words: tuple[tuple[str, str], ...] = ()
    variants: tuple[tuple[str, str], ...] = ()
    """Answers that make it another variant than the rule's."""
    distilled: tuple[str, ...] = ()
    """Answers that say that it is distilled to few steps."""


ASKS: dict[str, Ask] = {
    "prediction": Ask(
        "Does it predict noise (epsilon) or velocity (v)?",
        ("epsilon", "v_prediction"),
        (("vpred", "v_prediction"), ("v-pred", "v_prediction"), ("768", "v_prediction"), ("512", "epsilon")),
    ),
    "flux1_dev": Ask(
        "Is it FLUX.1 dev, Kontext (edits pictures) or Krea dev? Their tensors are alike.",
        ("dev", "kontext", "krea-dev"),
        (("kontext", "kontext"), ("krea", "krea-dev"), ("dev", "dev")),
        (("kontext", "kontext"),),
    ),
    "flux1_control": Ask(
        "Is it FLUX.1 Depth or Canny? Their tensors are alike.",
        ("depth", "canny"),
        (("depth", "depth"), ("canny", "canny")),
    ),
    "step_distilled": Ask(
        "Is it the base, or distilled to few steps? Train on the base.",
        ("base", "distilled"),
        (
            ("turbo", "distilled"),
            ("distilled", "distilled"),
            ("distill", "distilled"),
            ("lightning", "distilled"),
            ("base", "base"),
        ),
        distilled=("distilled",),
    ),
    "sd35_large": Ask(
        "Is it 3.5 Large, or Large Turbo, distilled to few steps? Train on Large.",
        ("large", "large-turbo"),
        (("turbo", "large-turbo"),),
        distilled=("large-turbo",),
    ),
    "wan_expert": Ask(
        "Is it Wan 2.1, or one of the two experts of Wan 2.2 A14B (high noise, low noise)? Their tensors are alike.",
        ("2.1", "2.2-high-noise", "2.2-low-noise"),
        (
            ("high", "2.2-high-noise"),
            ("low", "2.2-low-noise"),
            ("2.1", "2.1"),
            ("2_1", "2.1"),
            ("wan2.1", "2.1"),
            ("wan2_1", "2.1"),
        ),
    ),
    "wan_i2v_expert": Ask(
        "Which of the two experts of Wan 2.2 A14B is it: high noise or low noise? Their tensors are alike.",
        ("2.2-high-noise", "2.2-low-noise"),
        (("high", "2.2-high-noise"), ("low", "2.2-low-noise")),
    ),
    "wan_size": Ask(
        "Is it the 480p or the 720p model? Their tensors are alike.",
        ("480p", "720p"),
        (("480", "480p"), ("720", "720p")),
    ),
    "qwen_edit": Ask(
        "Does it make pictures from text, edit one (Edit) or several (Edit 2509)? Their tensors are alike.",
        ("text-to-image", "edit", "edit-2509"),
        (("2509", "edit-2509"), ("edit", "edit"), ("2512", "text-to-image")),
        (("edit", "edit"), ("edit-2509", "edit_plus")),
    ),
    "hidream": Ask(
        "Is it HiDream I1 Full, Dev or Fast? Train on Full.",
        ("full", "dev", "fast"),
        (("full", "full"), ("fast", "fast"), ("dev", "dev")),
    ),
    "hunyuan1": Ask(
        "Does it start from text or from a picture? Their tensors are alike.",
        ("text-to-video", "image-to-video"),
        (("i2v", "image-to-video"), ("t2v", "text-to-video")),
        (("image-to-video", "i2v"),),
    ),
    "hunyuan15": Ask(
        "Does it start from text or from a picture? Their tensors are alike.",
        ("text-to-video", "image-to-video"),
        (("i2v", "image-to-video"), ("t2v", "text-to-video")),
    ),
    "anima_body": Ask(
        "Is it Cosmos-Predict2 2B, or the body of Anima without its adapter? Their tensors are alike.",
        ("cosmos-predict2-2b", "anima"),
        (("anima", "anima"), ("cosmos", "cosmos-predict2-2b")),
    ),
}

_SD_KV = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_XL_KV = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
_SD_IN = "input_blocks.0.0.weight"
_UNET_KV = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
_UNET_XL_KV = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
_UNET_IN = "conv_in.weight"
_UNET_ADDS = "add_embedding.linear_1.weight"


def _unet(kv: str, conv_in: str, width: int, variant: str, title: str, channels: int, *asks: str) -> Rule:
    return Rule("sd", variant, title, (kv, conv_in), ((kv, 1, width), (conv_in, 1, channels)), asks=asks)


def _unets(kv: str, conv_in: str, adds: str) -> tuple[Rule, ...]:
    """Stable Diffusion 1.x and 2.x in one of the two layouts."""
    return (
        _unet(kv, conv_in, 768, "sd1", "Stable Diffusion 1.x", 4),
        _unet(kv, conv_in, 768, "sd1_inpaint", "Stable Diffusion 1.x for inpainting", 9),
        _unet(kv, conv_in, 768, "sd1_edit", "InstructPix2Pix (Stable Diffusion 1.x that edits)", 8),
        Rule("sd", "unclip", "Stable Diffusion 2.x unCLIP", (kv, adds), ((kv, 1, 1024),)),
        _unet(kv, conv_in, 1024, "sd2", "Stable Diffusion 2.x", 4, "prediction"),
        _unet(kv, conv_in, 1024, "sd2_inpaint", "Stable Diffusion 2.x for inpainting", 9),
        _unet(kv, conv_in, 1024, "sd2_depth", "Stable Diffusion 2.x with depth", 5),
        Rule("sd", "upscaler", "Stable Diffusion's x4 upscaler", (conv_in, adds), ((conv_in, 1, 7),)),
        Rule("sd", "sd", "Stable Diffusion in the layout of 1.x", (kv, conv_in), ((conv_in, 1, 4),), width=(kv, 1)),
    )


def _xl(kv: str, conv_in: str, adds: str) -> tuple[Rule, ...]:
    """SDXL and its refiner in one of the two layouts."""

    def shaped(width: int, channels: int) -> tuple[ShapeTest, ...]:
        return ((kv, 1, width), (conv_in, 1, channels))

    has = (kv, conv_in, adds)
    return (
        Rule("sdxl", "v_prediction", "SDXL that predicts velocity", (*has, "v_pred"), shaped(2048, 4)),
        Rule("sdxl", "playground", "Playground v2.5 (SDXL's shape, other noise)", (*has, "edm_mean"), shaped(2048, 4)),
        Rule("sdxl", "base", "SDXL", has, shaped(2048, 4), asks=("prediction",)),
        Rule("sdxl", "inpaint", "SDXL for inpainting", has, shaped(2048, 9)),
        Rule("sdxl", "edit", "SDXL that edits", has, shaped(2048, 8)),
        Rule("sdxl", "refiner", "the SDXL refiner", has, shaped(1280, 4)),
    )


def _flux1(marks: tuple[str, ...], img: str, guidance: str) -> tuple[Rule, ...]:
    return (
        Rule(
            "flux",
            "dev_or_kontext",
            "FLUX.1 dev, Kontext or Krea dev",
            (*marks, img, guidance),
            ((img, 1, 64),),
            asks=("flux1_dev",),
        ),
        Rule("flux", "fill", "FLUX.1 Fill", (*marks, img, guidance), ((img, 1, 384),)),
        Rule(
            "flux",
            "control",
            "FLUX.1 Depth or Canny",
            (*marks, img, guidance),
            ((img, 1, 128),),
            asks=("flux1_control",),
        ),
        Rule(
            "flux",
            "schnell",
            "FLUX.1 schnell",
            (*marks, img),
            ((img, 1, 64),),
            (guidance,),
            distilled="it has no guidance built in, as schnell",
        ),
    )


def _flux2(mark: str, txt: str) -> tuple[Rule, ...]:
    return (
        Rule("flux2", "dev", "FLUX.2 dev", (mark, txt), ((txt, 1, 15360),)),
        Rule("flux2", "klein_4b", "FLUX.2 klein 4B", (mark, txt), ((txt, 1, 7680),), asks=("step_distilled",)),
        Rule("flux2", "klein_9b", "FLUX.2 klein 9B", (mark, txt), ((txt, 1, 12288),), asks=("step_distilled",)),
    )


def _wan(mark: str, image: str) -> tuple[Rule, ...]:
    """Wan 2.1 and 2.2: the width tells the size, the input channels the task, the image embedding the version."""
    patch = "patch_embedding.weight"
    has = (mark, patch)

    def shaped(width: int, channels: int) -> tuple[ShapeTest, ...]:
        return ((patch, 0, width), (patch, 1, channels))

    return (
        Rule("wan", "vace_1.3b", "Wan 2.1 VACE 1.3B", (*has, "vace_patch_embedding.weight"), ((patch, 0, 1536),)),
        Rule("wan", "vace_14b", "Wan VACE 14B", (*has, "vace_patch_embedding.weight"), ((patch, 0, 5120),)),
        Rule("wan", "animate_14b", "Wan 2.2 Animate 14B", (*has, "pose_patch_embedding.weight"), ((patch, 0, 5120),)),
        Rule("wan", "s2v_14b", "Wan 2.2 S2V 14B", (*has, "casual_audio_encoder.*")),
        Rule("wan", "skyreels_v2", "SkyReels V2 (Wan's shape)", (*has, "fps_embedding.weight")),
        Rule("wan", "camera", "Wan with camera control", (*has, "control_adapter.conv.weight")),
        Rule("wan", "t2v_1.3b", "Wan 2.1 T2V 1.3B", has, shaped(1536, 16), (image,)),
        Rule("wan", "t2v_14b", "Wan T2V 14B", has, shaped(5120, 16), (image,), asks=("wan_expert",)),
        Rule("wan", "i2v_14b_2.1", "Wan 2.1 I2V 14B", (*has, image), shaped(5120, 36), asks=("wan_size",)),
        Rule("wan", "i2v_14b_2.2", "Wan 2.2 I2V 14B", has, shaped(5120, 36), (image,), asks=("wan_i2v_expert",)),
        Rule("wan", "ti2v_5b", "Wan 2.2 TI2V 5B", has, shaped(3072, 48), (image,)),
        Rule("wan", "other", "Wan in another variant", has, width=(patch, 1)),
    )


def _hunyuan(mark: str, img: str, vision: str, byt5: str) -> tuple[Rule, ...]:
    has = (mark, img)
    return (
        Rule("hunyuan_video", "1.5", "HunyuanVideo 1.5", (*has, vision), asks=("hunyuan15",), width=(img, 1)),
        Rule("hunyuan_image", "2.1", "HunyuanImage 2.1", has, ((img, NDIM, 4),)),
        Rule("hunyuan_video", "framepack", "FramePack (HunyuanVideo's shape)", (*has, "image_projection.up.weight")),
        Rule("hunyuan_video", "1", "HunyuanVideo", has, ((img, NDIM, 5), (img, 1, 16)), (byt5,), ("hunyuan1",)),
        Rule("hunyuan_video", "i2v_33ch", "HunyuanVideo I2V", has, ((img, NDIM, 5), (img, 1, 33)), (byt5,)),
        Rule("hunyuan_video", "skyreels", "SkyReels I2V (HunyuanVideo's shape)", has, ((img, NDIM, 5), (img, 1, 32))),
    )


def _lumina(caption: str, mark: str, *, original: bool) -> tuple[Rule, ...]:
    """Lumina-Image 2 and Z-Image share their original names; the width tells them apart."""
    pad, wide, narrow = "cap_pad_token", ((caption, 0, 3840),), ((caption, 0, 2304),)
    z_image = (
        Rule("z_image", "omni", "Z-Image Omni", (caption, mark, pad, "siglip_embedder.0.weight"), wide),
        Rule("z_image", "pixel", "Z-Image in pixel space", (caption, mark, "dec_net.cond_embed.weight"), wide),
        Rule("z_image", "base_or_turbo", "Z-Image", (caption, mark, pad), wide, asks=("step_distilled",)),
        Rule("ming_image", "1", "Ming-Image (Z-Image's shape)", (caption, mark), wide, (pad,)),
    )
    lumina = (
        Rule(
            "lumina2", "newbie", "NewBie (Lumina 2's shape)", (caption, mark, "clip_text_pooled_proj.0.weight"), narrow
        ),
        Rule("lumina2", "2", "Lumina-Image 2", (caption, mark), narrow),
    )
    return (*z_image, *lumina) if original else z_image


def _cosmos(patch: str, *marks: str, one: bool, adapter: str = "") -> tuple[Rule, ...]:
    """Cosmos: 17 channels in 2x2 patches start from text, 18 from a picture or video; the width tells the size."""
    version, name = ("1", "Cosmos 1.0") if one else ("2", "Cosmos-Predict2")
    text = "Text2World" if one else "Text2Image"
    rules: list[Rule] = []
    for width, size in ((4096, "7b"), (5120, "14b")) if one else ((2048, "2b"), (5120, "14b")):
        for channels, task, word in ((68, "t", text), (72, "v", "Video2World")):
            asks = ("anima_body",) if (width, channels) == (2048, 68) else ()
            shapes = ((patch, 0, width), (patch, 1, channels))
            title = f"{name} {size.upper()} {word}" + (" or the body of Anima" if asks else "")
            lacks = (adapter,) if adapter else ()
            rules.append(Rule("cosmos", f"{version}_{size}_{task}", title, (patch, *marks), shapes, lacks, asks))
    return tuple(rules)


_FLUX1_ORIGINAL = ("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight", "time_in.in_layer.weight")
_FLUX1_DIFFUSERS = ("transformer_blocks.0.attn.add_q_proj.weight", "single_transformer_blocks.0.proj_mlp.weight")
_FLUX1_POOLED = "time_text_embed.text_embedder.linear_1.weight"
_SD3_ORIGINAL = "joint_blocks.0.context_block.attn.qkv.weight"
_SD3_DIFFUSERS = ("pos_embed.pos_embed", "transformer_blocks.0.attn.add_q_proj.weight", "context_embedder.weight")
_CHROMA = "distilled_guidance_layer.in_proj.bias"
_LTX = "adaln_single.emb.timestep_embedder.linear_1.bias"
_QWEN = ("txt_norm.weight", "transformer_blocks.0.img_mlp.net.0.proj.weight", "img_in.weight")

DENOISERS: tuple[Rule, ...] = (
    # Stable Diffusion 3: the length of the position table and the depth tell the models apart.
    Rule(
        "sd3",
        "3.5_large",
        "Stable Diffusion 3.5 Large or Large Turbo",
        (_SD3_ORIGINAL, "joint_blocks.37.*"),
        asks=("sd35_large",),
    ),
    Rule(
        "sd3", "3.5_medium", "Stable Diffusion 3.5 Medium", (_SD3_ORIGINAL, "joint_blocks.0.x_block.attn2.qkv.weight")
    ),
    Rule("sd3", "3_medium", "Stable Diffusion 3 Medium", (_SD3_ORIGINAL, "pos_embed"), (("pos_embed", 1, 36864),)),
    Rule(
        "sd3",
        "3.5_large",
        "Stable Diffusion 3.5 Large or Large Turbo",
        (*_SD3_DIFFUSERS, "transformer_blocks.37.*"),
        asks=("sd35_large",),
    ),
    Rule(
        "sd3", "3.5_medium", "Stable Diffusion 3.5 Medium", (*_SD3_DIFFUSERS, "transformer_blocks.0.attn2.to_q.weight")
    ),
    Rule("sd3", "3_medium", "Stable Diffusion 3 Medium", _SD3_DIFFUSERS, (("pos_embed.pos_embed", 1, 36864),)),
    *_hunyuan(
        "txt_in.individual_token_refiner.blocks.0.norm1.weight",
        "img_in.proj.weight",
        "vision_in.proj.0.weight",
        "byt5_in.fc1.weight",
    ),
    *_hunyuan(
        "context_embedder.token_refiner.refiner_blocks.0.norm1.weight",
        "x_embedder.proj.weight",
        "image_embedder.norm_in.weight",
        "context_embedder_2.norm.weight",
    ),
    Rule(
        "flux3",
        "distilled",
        "FLUX.3 klein, distilled",
        ("early_stream_modulations.image.lin.weight", "ref_time_in.in_layer.weight"),
    ),
    Rule(
        "flux3",
        "base",
        "FLUX.3 klein",
        ("early_stream_modulations.image.lin.weight",),
        lacks=("ref_time_in.in_layer.weight",),
    ),
    Rule(
        "flux3",
        "distilled",
        "FLUX.3 klein, distilled",
        ("early_stream_modulations.image.linear.weight", "target_timestep_embedder.linear_1.weight"),
    ),
    Rule("flux3", "base", "FLUX.3 klein", ("early_stream_modulations.image.linear.weight",)),
    *_flux2("double_stream_modulation_img.lin.weight", "txt_in.weight"),
    *_flux2("double_stream_modulation_img.linear.weight", "context_embedder.weight"),
    Rule("chroma", "radiance", "Chroma Radiance", ("distilled_guidance_layer.*", "nerf_blocks.0.*")),
    Rule("chroma", "1", "Chroma", ("double_blocks.0.img_attn.qkv.weight", _CHROMA), lacks=("nerf_blocks.0.*",)),
    Rule("chroma", "1", "Chroma", ("transformer_blocks.0.attn.add_q_proj.weight", _CHROMA)),
    Rule("ovis_image", "1", "Ovis-Image", ("double_blocks.0.img_mlp.gate_proj.weight", "txt_norm.*")),
    Rule(
        "longcat_image",
        "1",
        "LongCat-Image",
        (*_FLUX1_ORIGINAL, "txt_in.weight"),
        (("txt_in.weight", 1, 3584),),
        ("vector_in.in_layer.weight",),
    ),
    *_flux1((*_FLUX1_ORIGINAL, "vector_in.in_layer.weight"), "img_in.weight", "guidance_in.in_layer.weight"),
    *_flux1(
        (*_FLUX1_DIFFUSERS, _FLUX1_POOLED), "x_embedder.weight", "time_text_embed.guidance_embedder.linear_1.weight"
    ),
    Rule("ovis_image", "1", "Ovis-Image", ("context_embedder_norm.weight", "single_transformer_blocks.0.*")),
    Rule(
        "longcat_image",
        "1",
        "LongCat-Image",
        (*_FLUX1_DIFFUSERS, "context_embedder.weight"),
        (("context_embedder.weight", 1, 3584),),
        (_FLUX1_POOLED,),
    ),
    Rule("minimax_h3", "1", "MiniMax-H3", ("video_patch_proj.weight", "audio_patch_proj.weight")),
    Rule("minimax_h3", "1", "MiniMax-H3", ("audio_proj_in.weight", "token_refiner.refiner_blocks.0.norm1.weight")),
    Rule("mochi", "1", "Mochi 1", ("t5_yproj.weight", "blocks.0.attn.qkv_x.weight")),
    Rule("mochi", "1", "Mochi 1", ("time_embed.pooler.to_kv.weight", "transformer_blocks.0.attn1.add_q_proj.weight")),
    Rule(
        "pixart",
        "alpha",
        "PixArt-alpha",
        (_LTX, "pos_embed.proj.bias", "adaln_single.emb.resolution_embedder.linear_1.weight"),
    ),
    Rule("pixart", "sigma", "PixArt-Sigma", (_LTX, "pos_embed.proj.bias")),
    Rule("ltx2", "2", "LTX-2", (_LTX, "audio_adaln_single.linear.weight")),
    Rule(
        "ltx",
        "13b",
        "LTX-Video 13B",
        (_LTX, "patchify_proj.weight", "transformer_blocks.47.*"),
        asks=("step_distilled",),
    ),
    Rule("ltx", "2b", "LTX-Video 2B", (_LTX, "patchify_proj.weight"), asks=("step_distilled",)),
    Rule("ltx2", "2", "LTX-2", ("audio_time_embed.linear.weight", "audio_proj_in.weight", "proj_in.weight")),
    Rule(
        "ltx",
        "13b",
        "LTX-Video 13B",
        ("time_embed.linear.weight", "proj_in.weight", "scale_shift_table", "transformer_blocks.47.*"),
        asks=("step_distilled",),
    ),
    Rule(
        "ltx",
        "2b",
        "LTX-Video 2B",
        ("time_embed.linear.weight", "proj_in.weight", "scale_shift_table", "caption_projection.linear_1.weight"),
        lacks=("audio_proj_in.weight", "caption_norm.weight"),
        asks=("step_distilled",),
    ),
    Rule("sana", "1", "Sana", ("t_block.1.weight", "blocks.0.mlp.depth_conv.conv.weight")),
    Rule("sana", "video", "Sana Video", ("caption_norm.weight", "transformer_blocks.0.ff.conv_temp.weight")),
    Rule("sana", "1", "Sana", ("caption_norm.weight", "transformer_blocks.0.ff.conv_inverted.weight")),
    Rule(
        "pixart", "alpha", "PixArt-alpha", ("t_block.1.weight", "blocks.0.mlp.fc1.weight", "ar_embedder.mlp.0.weight")
    ),
    Rule("pixart", "sigma", "PixArt-Sigma", ("t_block.1.weight", "blocks.0.mlp.fc1.weight", "y_embedder.y_embedding")),
    Rule("bria_fibo2", "2", "Bria FIBO 2", ("perceiver.latent_queries", "noise_refiner.0.attention.to_q.weight")),
    *_lumina("cap_embedder.1.weight", "noise_refiner.0.attention.k_norm.weight", original=True),
    *_lumina("cap_embedder.1.weight", "noise_refiner.0.attention.norm_k.weight", original=False),
    Rule(
        "lumina2",
        "2",
        "Lumina-Image 2",
        ("time_caption_embed.caption_embedder.1.weight", "noise_refiner.0.attn.norm_k.weight"),
    ),
    *_wan("head.modulation", "img_emb.proj.0.bias"),
    *_wan("condition_embedder.time_proj.weight", "condition_embedder.image_embedder.norm1.weight"),
    Rule("hidream", "o1", "HiDream O1", ("t_embedder1.mlp.0.weight", "x_embedder.proj1.weight")),
    Rule("hidream", "i1", "HiDream I1", ("caption_projection.0.linear.weight",), asks=("hidream",)),
    Rule("anima", "1", "Anima", ("blocks.0.mlp.layer1.weight", "llm_adapter.blocks.0.cross_attn.q_proj.weight")),
    *_cosmos("x_embedder.proj.1.weight", "blocks.block0.blocks.0.block.attn.to_q.0.weight", one=True),
    *_cosmos("x_embedder.proj.1.weight", "blocks.0.mlp.layer1.weight", one=False, adapter="llm_adapter.*"),
    *_cosmos(
        "patch_embed.proj.weight", "time_embed.t_embedder.linear_1.weight", "learnable_pos_embed.pos_emb_t", one=True
    ),
    *_cosmos(
        "patch_embed.proj.weight",
        "time_embed.t_embedder.linear_1.weight",
        one=False,
        adapter="learnable_pos_embed.pos_emb_t",
    ),
    Rule("qwen_image_21", "2.1", "Qwen-Image 2.1", ("txt_in.text_norm.weight", "img_in.weight")),
    Rule("qwen_image", "edit_2511", "Qwen-Image Edit 2511", (*_QWEN, "__index_timestep_zero__")),
    Rule("qwen_image", "layered", "Qwen-Image Layered", (*_QWEN, "time_text_embed.addition_t_embedding.weight")),
    Rule("qwen_image", "1", "Qwen-Image", _QWEN, asks=("qwen_edit",)),
    Rule("ideogram4", "4", "Ideogram 4", ("embed_image_indicator.weight",)),
    Rule("krea2", "2", "Krea 2", ("txtfusion.projector.weight",), asks=("step_distilled",)),
    Rule("krea2", "2", "Krea 2", ("text_fusion.projector.weight",), asks=("step_distilled",)),
    Rule("auraflow", "1", "AuraFlow", ("double_layers.0.attn.w1q.weight", "cond_seq_linear.weight")),
    Rule("auraflow", "1", "AuraFlow", ("joint_transformer_blocks.0.attn.add_q_proj.weight", "register_tokens")),
    Rule("ernie_image", "1", "ERNIE-Image", ("layers.0.adaLN_sa_ln.weight", "text_proj.weight")),
    Rule("hunyuan_dit", "1", "HunyuanDiT", ("mlp_t5.0.weight",)),
    Rule("stable_cascade", "c", "Stable Cascade, stage C", ("clip_txt_mapper.weight",)),
    Rule("stable_cascade", "b", "Stable Cascade, stage B", ("down_blocks.1.0.channelwise.0.weight",)),
    Rule("cogview4", "4", "CogView 4", ("time_condition_embed.condition_embedder.linear_1.weight",)),
    Rule("cogvideox", "1", "CogVideoX", ("patch_embed.text_proj.weight", "time_embedding.linear_1.weight")),
    Rule("cogvideox", "1", "CogVideoX", ("blocks.0.norm1.linear.weight", "patch_embed.text_proj.weight")),
    Rule("kandinsky5", "5", "Kandinsky 5", ("visual_transformer_blocks.0.visual_modulation.out_layer.weight",)),
    # UNets last: their names are the least particular ones.
    Rule("svd", "1", "Stable Video Diffusion", ("input_blocks.1.1.time_stack.0.attn1.to_q.weight",)),
    Rule("svd", "1", "Stable Video Diffusion", ("down_blocks.0.resnets.0.temporal_res_block.conv1.weight",)),
    Rule("kolors", "1", "Kolors (SDXL's shape, ChatGLM text)", ("encoder_hid_proj.weight", _UNET_ADDS, _UNET_XL_KV)),
    *_xl(_XL_KV, _SD_IN, "label_emb.0.0.weight"),
    *_xl(_UNET_XL_KV, _UNET_IN, _UNET_ADDS),
    *_unets(_SD_KV, _SD_IN, "label_emb.0.0.weight"),
    *_unets(_UNET_KV, _UNET_IN, "class_embedding.linear_1.weight"),
)
