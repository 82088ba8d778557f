"""Fetching: one downloader for everything that comes in from the network.

    Fetcher        probe, download, json, text, post, ask
    Limits         caps, manners, and which hosts may be asked
    DownloadPlan   what would be fetched, from where, how large, under which licence, and whether it fits
    Consents       what the user has agreed to, once

    fetcher        the façade                     addresses      which addresses may be asked
    download       one file, resumed and checked  transport      connections to what was checked, and to nothing else
    exchange       a request through redirects    authorization  which secret goes to which host
    part           a file that is not whole yet   hosts          pacing, Retry-After, when it is enough
    sniffing       what a file really is          naming         names by strangers, addresses without keys
    refusals       HTTP statuses as sentences     progress       speed and time left
    plan, consent  before anything is fetched     limits         caps, and the clock

Importing this loads no HTTP library; the first request does.
"""

from lorasmith.fetching.consent import Consents, Notice
from lorasmith.fetching.download import Downloaded
from lorasmith.fetching.fetcher import Fetcher, Found, Reply
from lorasmith.fetching.limits import Cancel, Clock, Limits
from lorasmith.fetching.naming import safe_name, shown
from lorasmith.fetching.plan import DownloadPlan, Offer
from lorasmith.fetching.progress import Transfer
from lorasmith.fetching.sniffing import Expected, kind_of

__all__ = [
    "Cancel",
    "Clock",
    "Consents",
    "DownloadPlan",
    "Downloaded",
    "Expected",
    "Fetcher",
    "Found",
    "Limits",
    "Notice",
    "Offer",
    "Reply",
    "Transfer",
    "kind_of",
    "safe_name",
    "shown",
]
