"""Frequent English words that someone might choose as a trigger word, put together for this purpose."""

from __future__ import annotations

from typing import Final

_WRITTEN: Final = """
a an the this that these those my your his her our their one two three four five six seven eight nine ten man woman
boy girl child baby kid person people guy lady mother father brother sister son daughter friend family king queen
prince princess hero heroine knight soldier doctor teacher student worker model actor singer artist face head hair
eye eyes ear nose mouth lip lips hand arm leg foot feet body skin heart back chest neck shoulder smile cat dog horse
bird fish cow pig sheep goat lion tiger bear wolf fox rabbit mouse dragon monster robot alien angel demon ghost
witch vampire zombie fairy mermaid ninja pirate house home room kitchen bed bedroom bath door window wall floor roof
garden street road city town village park school church castle tower bridge shop store market office hotel hospital
farm forest tree flower grass leaf mountain hill river lake sea ocean beach island desert sky cloud rain snow storm
sun moon star fire water air earth stone rock sand ice light shadow night day morning evening winter summer spring
autumn world space car bus train plane ship boat bike truck rocket wheel engine machine computer phone camera book
paper pen pencil table chair lamp clock watch glass cup bottle plate knife fork spoon box bag basket key ring crown
sword shield gun bow hat cap shirt dress skirt coat jacket suit shoe shoes boot boots sock glove belt scarf mask
glasses food bread cake cookie apple orange banana lemon cherry berry grape tea coffee milk wine beer sugar salt egg
meat red blue green yellow black white brown pink purple gray grey gold golden silver color colour dark bright big
small large little long short tall high low old new young good bad best great nice beautiful pretty cute happy sad
angry funny strange wild free soft hard hot cold warm cool dry wet clean dirty fast slow strong weak rich poor sweet
magic real style art painting drawing picture photo photograph image portrait sketch cartoon anime manga comic
poster logo icon design pattern texture background landscape scene view film movie game toy doll statue figure
character concept object thing product subject item watercolor watercolour oil ink pixel vintage retro modern
classic fantasy love life time year work play run walk sit stand sleep eat drink look see make take give go come
jump fly swim dance sing read write paint draw hold wear left right up down front side top bottom inside outside
name word test sample trigger token lora example training data john mary james anna peter paul david michael emma
sarah alice jack tom bob
"""
COMMON_WORDS: Final = frozenset(_WRITTEN.split())
