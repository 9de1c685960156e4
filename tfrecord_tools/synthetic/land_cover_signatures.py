"""Signatures of land covers: which classes occur together, and how each looks in every band.

Spectra and backscatter are plausible round values, chosen to have the shape given in textbooks (water falls to nothing
in the short-wave infrared, vegetation has its red edge, soil rises); they are not measurements of any place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bigearth_tf.data.bands import BANDS, PATCH_EXTENT_M, S1, S2_ALL, Band
from bigearth_tf.data.labels import CLC_43_TO_19

# Counts of the label sets of the 19-class nomenclature: the 300 most common and, for every class, the 3 most common
# that contain it; 80 % of all patches. One letter per class, "a" is the first of CLASSES_19.
# Source: metadata.parquet of BigEarthNet v2.0, https://doi.org/10.5281/zenodo.10891137
LABEL_SETS = """
s:52477 jkn:16167 c:14893 jk:11451 ce:10626 jkr:10186 jknr:6182 jn:6078 in:5573 e:5504 fgi:5358 jr:4239 j:3957
cjk:3815 i:3813 cgjk:3302 cjkn:3216 ac:3209 cf:3112 cfgi:3081 gjkn:3045 ci:2927 gjk:2847 gin:2778 fgin:2675
cg:2647 acf:2633 gjkr:2471 cd:2457 r:2413 ej:2400 jknp:2391 ch:2370 jnr:2235 cfi:2178 cfg:2156 cin:2156 iln:2134
ijk:2107 gi:2053 cef:1996 acg:1878 kr:1865 ijkn:1839 acfg:1821 ik:1805 kn:1774 cgjkn:1758 cgi:1740 jnp:1735
ace:1587 cn:1587 ks:1525 ikn:1521 ejk:1510 ck:1507 cdh:1485 chn:1482 cik:1477 hi:1428 jkp:1426 ceh:1403 acfgi:1382
acef:1369 chin:1345 hin:1345 chi:1319 cgk:1229 cei:1224 fin:1210 gjknr:1185 afgi:1184 jp:1162 acfi:1157 fi:1115
eg:1095 cej:1071 cfk:1047 h:1036 eh:1023 imn:1013 cfik:1012 cgj:999 ek:986 ijkr:967 cj:964 jks:954 cek:931 fg:930
ceg:925 cgjkr:924 aci:912 ack:909 cikn:907 ckn:907 cgin:895 acgi:886 cefi:875 cjkr:866 gkr:834 ei:807 cfgin:776
cefg:771 cr:766 cijk:762 efgi:739 cefgi:724 acefi:716 js:708 giln:699 ejn:698 ae:693 cefk:690 cdf:684 cjn:684
ein:677 il:667 cegi:662 gijk:655 abc:653 knp:650 afg:646 cgik:635 gimn:633 egi:631 cfgk:630 gik:619 cen:617
cehn:615 acd:595 cfjk:594 cgkr:590 cfj:588 acfk:586 eik:576 bc:570 ijn:566 cgkn:561 egjk:555 cdi:553 fik:553
gjn:544 gikn:540 egj:535 acefg:534 en:533 knr:528 gj:525 ehi:519 acgk:518 ijknr:511 acei:508 ehin:508 ikr:507
k:503 efi:500 ehn:499 cfin:497 ab:493 cfgik:493 cijkn:493 n:492 gkn:485 fgik:481 gmn:481 fgn:475 ef:474 aceg:472
cgn:471 cejk:457 mn:457 ep:451 cdeh:447 dgm:433 egin:433 acjk:432 cjknr:431 din:430 egk:428 acfik:427 fjk:426
cfgn:422 cgjn:421 cefgk:415 jkpr:413 cgijk:412 hik:412 acgj:411 dfg:410 efk:409 afgin:400 gijkr:399 gijkn:398
acj:396 ejkn:394 eijk:387 hn:386 ceik:385 acik:384 efjk:383 gjr:378 chik:371 cdhi:370 cegk:368 cdg:363 cein:363
pr:362 acgjk:361 aek:358 af:358 cfn:358 gk:356 cefik:355 cehin:355 acfgk:354 cefjk:354 fgiln:350 ij:349 is:347
dm:346 jknpr:344 aefi:343 cdhn:343 efgk:343 jpr:339 cefj:335 cgjknr:335 df:334 efgin:334 gil:334 cehi:325 cfgj:323
gn:322 aef:321 acefgi:320 inr:319 ckr:316 fgikn:315 p:315 abcf:314 adfg:313 jnpr:311 efik:310 a:309 egik:309 d:306
fikn:305 acdf:300 gknr:293 acdg:291 aefk:289 cdn:288 ikln:288 cinr:286 cegik:284 efj:283 mp:283 cfkn:282 aejk:279
acegi:277 aej:277 acefk:276 dh:276 cgikn:275 fjkn:275 cdfgi:272 gikr:272 fk:269 acfj:268 afi:266 cfh:265 fgk:265
aeg:264 aegk:264 efgik:264 cfgjk:263 cjknp:261 cfjkn:259 ajk:256 cgr:253 fn:252 dfgi:251 cdfi:248 cdgi:248
acdi:246 aefg:246 cejn:245 eikn:242 enp:242 fj:241 aefgk:239 efgjk:235 acgik:234 cdr:233 cdhin:230 cijn:230
fijk:230 cij:229 egjn:229 cdfg:227 os:158 qs:122 jos:66 cqs:54 mos:49 oqs:44
"""

# Which of the 43 classes represent a class of the 19, by index in CLASSES_19. Approximate, rounded shares, in the
# proportions of the class counts of BigEarthNet v1 (https://arxiv.org/abs/1902.06148).
CHILD_SHARES: tuple[dict[str, float], ...] = (
    {"Continuous urban fabric": 0.15, "Discontinuous urban fabric": 0.85},
    {"Industrial or commercial units": 1.0},
    {"Non-irrigated arable land": 0.9, "Permanently irrigated land": 0.08, "Rice fields": 0.02},
    {
        "Vineyards": 0.3,
        "Fruit trees and berry plantations": 0.15,
        "Olive groves": 0.35,
        "Annual crops associated with permanent crops": 0.2,
    },
    {"Pastures": 1.0},
    {"Complex cultivation patterns": 1.0},
    {"Land principally occupied by agriculture, with significant areas of natural vegetation": 1.0},
    {"Agro-forestry areas": 1.0},
    {"Broad-leaved forest": 1.0},
    {"Coniferous forest": 1.0},
    {"Mixed forest": 1.0},
    {"Natural grassland": 0.9, "Sparsely vegetated areas": 0.1},
    {"Moors and heathland": 0.35, "Sclerophyllous vegetation": 0.65},
    {"Transitional woodland/shrub": 1.0},
    {"Beaches, dunes, sands": 1.0},
    {"Inland marshes": 0.2, "Peatbogs": 0.8},
    {"Salt marshes": 0.8, "Salines": 0.2},
    {"Water courses": 0.1, "Water bodies": 0.9},
    {"Coastal lagoons": 0.02, "Estuaries": 0.01, "Sea and ocean": 0.97},
)

# Column order of every spectrum below: reflectance x 100 in the Sentinel-2 bands, then backscatter in dB.
COLUMNS = S2_ALL + S1

SURFACES: dict[str, tuple[float, ...]] = {
    # B01, B02, B03, B04, B05, B06, B07, B08, B8A, B09, B11, B12, VV, VH
    "asphalt": (7, 8, 9, 9.5, 10, 11, 11.5, 12, 12, 12, 13, 13, -8, -15),
    "roof": (9, 10, 12, 18, 20, 21, 22, 23, 24, 24, 28, 27, -2, -10),
    "garden": (4, 5, 7, 6, 10, 19, 22, 24, 25, 25, 19, 12, -7, -14),
    "metal roof": (26, 30, 32, 33, 33, 33, 33, 33, 33, 33, 28, 26, 0, -8),
    "concrete": (16, 18, 20, 22, 23, 24, 24, 25, 25, 25, 27, 26, -5, -13),
    "bare soil": (5, 7, 10, 14, 17, 19, 20, 22, 23, 24, 30, 25, -12, -20),
    "red soil": (4, 5, 8, 18, 21, 23, 24, 26, 27, 28, 38, 33, -13, -21),
    "pale soil": (10, 14, 19, 24, 27, 29, 30, 32, 33, 33, 41, 36, -13, -21),
    "crop": (2.5, 3.5, 7, 3.5, 10, 33, 42, 46, 48, 48, 20, 10, -11, -17),
    "rice": (3, 4, 7, 4, 8, 18, 22, 24, 24, 23, 8, 4, -9, -17),
    "maize": (2.5, 3, 6, 4, 9, 24, 29, 31, 33, 33, 17, 9, -10, -16),
    "lush grass": (3, 4, 9, 5, 13, 29, 35, 38, 40, 40, 26, 15, -13, -20),
    "grazed grass": (4, 5, 10, 8, 15, 26, 30, 32, 34, 34, 28, 18, -13, -21),
    "dry grass": (5, 6.5, 11, 14, 18, 22, 24, 27, 29, 30, 37, 28, -12, -19),
    "alpine grass": (6, 8, 13, 11, 17, 22, 24, 26, 27, 27, 21, 13, -11, -19),
    "scree": (9, 12, 14, 15, 16, 17, 18, 18, 19, 19, 20, 17, -9, -18),
    "vine": (3, 4, 7, 6, 11, 20, 23, 25, 27, 27, 22, 14, -10, -16),
    "olive": (3, 4, 6, 6, 9, 14, 16, 18, 19, 19, 18, 12, -9, -15),
    "fruit tree": (2, 3, 6, 4, 9, 22, 26, 28, 30, 30, 17, 9, -9, -14),
    "oak": (2, 2.5, 4, 3.5, 7, 13, 15, 17, 18, 18, 14, 8, -9, -14),
    "broad-leaved crown": (1.5, 2, 5, 2.5, 8, 29, 38, 40, 42, 42, 19, 8, -8, -13),
    "broad-leaved gap": (0.8, 1.1, 2.6, 1.4, 3.8, 14, 18, 19, 20, 20, 8.5, 3.5, -9, -14),
    "needle crown": (2.5, 3, 4.4, 3.2, 6, 19, 23, 25, 26, 27, 11, 5, -9, -15),
    "needle gap": (1.2, 1.5, 2.2, 1.6, 3, 9, 11, 12, 12.5, 13, 5.5, 2.5, -10, -16),
    "mixed pale crown": (2, 2.5, 6, 3.5, 10, 26, 31, 33, 34, 34, 21, 9.5, -8, -13),
    "mixed dark crown": (1.5, 1.8, 2.5, 1.8, 3.5, 10, 12, 13, 13.5, 14, 6, 2.8, -10, -16),
    "shrub": (2.5, 3, 5, 5, 9, 16, 19, 21, 23, 23, 24, 14, -10, -16),
    "clearing": (4, 5, 8, 10, 14, 19, 21, 24, 26, 26, 36, 25, -11, -18),
    "heather": (4, 4.5, 5, 7, 9, 12, 13, 14, 15, 15, 19, 14, -11, -18),
    "heath flower": (6, 7, 6, 11, 13, 16, 17, 18, 19, 19, 22, 17, -11, -18),
    "sclerophyll": (2.5, 3, 4.5, 4, 7, 12, 14, 15, 16, 16, 16, 10, -9, -15),
    "sand": (18, 24, 31, 36, 38, 39, 40, 41, 42, 42, 46, 42, -16, -25),
    "wet sand": (13, 17, 22, 25, 26, 26, 26, 26, 26, 25, 22, 17, -15, -24),
    "reed": (3.5, 4.5, 7, 8, 12, 17, 19, 21, 22, 21, 16, 9, -9, -16),
    "peat": (4, 5, 7, 10, 12, 14, 15, 16, 16, 16, 14, 9, -11, -18),
    "bog pool": (2, 2, 2.2, 2.4, 2.4, 2.2, 2, 1.8, 1.6, 1.5, 1, 0.6, -17, -25),
    "salt marsh": (5, 6.5, 9, 9, 13, 18, 20, 21, 21, 20, 11, 6, -10, -18),
    "tidal mud": (8, 9.5, 11.5, 12.5, 13, 12.5, 12, 11.5, 11, 10, 6, 4, -15, -23),
    "salt": (45, 50, 54, 56, 56, 55, 54, 53, 52, 48, 20, 14, -14, -24),
    "lake": (3.5, 4.5, 6.5, 4.5, 4, 2.8, 2.4, 2, 1.7, 1.5, 0.8, 0.5, -16, -22),
    "river": (4.5, 6, 8.5, 7.5, 6.5, 4.5, 4, 3.2, 2.6, 2.2, 1.2, 0.8, -14, -21),
    "sea": (6, 5.5, 3.6, 1.8, 1.4, 1, 0.9, 0.8, 0.7, 0.7, 0.4, 0.3, -15, -21),
    "wave": (7.5, 7, 5, 3, 2.6, 2.1, 2, 1.8, 1.7, 1.6, 1.1, 0.9, -10, -20),
    "rock": (12, 14, 17, 19, 20, 21, 22, 22, 23, 23, 26, 24, -7, -16),
    "char": (3, 3.2, 3.6, 4.2, 5, 6, 6.5, 7, 7.5, 8, 12, 13, -12, -20),
}

# Vegetated surfaces, which change with the season.
# fmt: off
VEGETATION = (
    "garden", "crop", "rice", "maize", "lush grass", "grazed grass", "dry grass", "alpine grass", "vine", "olive",
    "fruit tree", "oak", "broad-leaved crown", "broad-leaved gap", "mixed pale crown", "shrub", "clearing", "heather",
    "heath flower", "sclerophyll", "reed", "salt marsh",
)
# fmt: on
# Relative change of each column for dormant vegetation: less near infrared, more of what chlorophyll and water absorb.
DORMANCY = (0.1, 0.1, 0.08, 0.2, 0.06, -0.12, -0.16, -0.18, -0.18, -0.18, 0.08, 0.14, -0.05, -0.1)
DORMANCY_OF_SEASON = {"Spring": 0.2, "Summer": -0.2, "Fall": 0.4, "Winter": 1.0}

# Surfaces that reflect the sun like a mirror: they gain the same reflectance in every band, depending on the sun.
WATER = ("lake", "river", "sea", "wave", "bog pool")
GLINT = 20.0

# What may cover the land, and the haze, which scatters mostly blue. Reflectance x 100.
SNOW = (88, 90, 90, 89, 88, 86, 84, 82, 80, 70, 10, 8)
CLOUD = (62, 64, 63, 62, 63, 64, 64, 63, 62, 45, 50, 42)
HAZE = (3.2, 2.6, 1.9, 1.4, 1.2, 1.0, 0.9, 0.85, 0.8, 0.75, 0.45, 0.35)


class Signature(NamedTuple):
    """The look of a class: two surfaces arranged in a texture.

    `texture` is a kind that `draw_texture` takes: stripes, rows, fields, streets, crowns, blotches, trees or ripples.
    `grain_m` is its period; `foreground` covers about half of it, trees about a fifth.
    """

    texture: str
    grain_m: float
    background: str
    foreground: str


_URBAN_GREEN = Signature("blotches", 120, "lush grass", "garden")

# A row for each of the 43 classes, those the benchmark drops included.
SIGNATURES: dict[str, Signature] = {
    "Continuous urban fabric": Signature("streets", 90, "asphalt", "roof"),
    "Discontinuous urban fabric": Signature("streets", 120, "garden", "roof"),
    "Industrial or commercial units": Signature("streets", 200, "concrete", "metal roof"),
    "Road and rail networks and associated land": Signature("stripes", 200, "asphalt", "garden"),
    "Port areas": Signature("streets", 250, "sea", "concrete"),
    "Airports": Signature("stripes", 300, "asphalt", "grazed grass"),
    "Mineral extraction sites": Signature("blotches", 200, "rock", "pale soil"),
    "Dump sites": Signature("blotches", 80, "bare soil", "asphalt"),
    "Construction sites": Signature("fields", 120, "pale soil", "concrete"),
    "Green urban areas": _URBAN_GREEN,
    "Sport and leisure facilities": Signature("fields", 100, "lush grass", "garden"),
    "Non-irrigated arable land": Signature("stripes", 110, "bare soil", "crop"),
    "Permanently irrigated land": Signature("stripes", 150, "bare soil", "maize"),
    "Rice fields": Signature("stripes", 130, "lake", "rice"),
    "Vineyards": Signature("rows", 50, "red soil", "vine"),
    "Fruit trees and berry plantations": Signature("trees", 60, "red soil", "fruit tree"),
    "Olive groves": Signature("trees", 70, "pale soil", "olive"),
    "Pastures": Signature("blotches", 320, "lush grass", "grazed grass"),
    "Annual crops associated with permanent crops": Signature("trees", 80, "red soil", "crop"),
    "Complex cultivation patterns": Signature("fields", 130, "pale soil", "maize"),
    "Land principally occupied by agriculture, with significant areas of natural vegetation": Signature(
        "blotches", 160, "bare soil", "oak"
    ),
    "Agro-forestry areas": Signature("trees", 100, "dry grass", "oak"),
    "Broad-leaved forest": Signature("crowns", 50, "broad-leaved gap", "broad-leaved crown"),
    "Coniferous forest": Signature("crowns", 25, "needle gap", "needle crown"),
    "Mixed forest": Signature("crowns", 90, "mixed dark crown", "mixed pale crown"),
    "Natural grassland": Signature("crowns", 60, "alpine grass", "scree"),
    "Moors and heathland": Signature("crowns", 70, "heather", "heath flower"),
    "Sclerophyllous vegetation": Signature("crowns", 70, "heather", "sclerophyll"),
    "Transitional woodland/shrub": Signature("blotches", 80, "clearing", "shrub"),
    "Beaches, dunes, sands": Signature("ripples", 150, "sand", "wet sand"),
    "Bare rock": Signature("crowns", 60, "rock", "scree"),
    "Sparsely vegetated areas": Signature("crowns", 90, "scree", "alpine grass"),
    "Burnt areas": Signature("blotches", 120, "char", "shrub"),
    "Inland marshes": Signature("blotches", 100, "bog pool", "reed"),
    "Peatbogs": Signature("blotches", 100, "bog pool", "peat"),
    "Salt marshes": Signature("blotches", 140, "tidal mud", "salt marsh"),
    "Salines": Signature("fields", 160, "tidal mud", "salt"),
    "Intertidal flats": Signature("ripples", 250, "tidal mud", "wet sand"),
    "Water courses": Signature("ripples", 300, "river", "lake"),
    "Water bodies": Signature("ripples", 500, "lake", "river"),
    "Coastal lagoons": Signature("ripples", 300, "sea", "lake"),
    "Estuaries": Signature("ripples", 300, "sea", "river"),
    "Sea and ocean": Signature("ripples", 180, "sea", "wave"),
}


_SIDE_PX = PATCH_EXTENT_M // 10
_SURFACE_NAMES = tuple(SURFACES)
_SPECTRA = np.array([SURFACES[name] for name in _SURFACE_NAMES], np.float32).T
_SPECTRA[:12] *= 100.0  # Sentinel-2 in DN, Sentinel-1 in linear power: both can be averaged over an area.
_SPECTRA[12:] = 10.0 ** (_SPECTRA[12:] / 10.0)
_GROWS = np.array([name in VEGETATION for name in _SURFACE_NAMES])
_MIRRORS = np.array([name in WATER for name in _SURFACE_NAMES])
_DORMANCY = np.array(DORMANCY, np.float32)
_OVERLAYS = {"snow": np.array(SNOW, np.float32) * 100.0, "cloud": np.array(CLOUD, np.float32) * 100.0}
_HAZE = np.array(HAZE, np.float32) * 100.0
_LABEL_SET_LETTERS = tuple(row.split(":")[0] for row in LABEL_SETS.split())
_LABEL_SET_COUNTS = np.array([int(row.split(":")[1]) for row in LABEL_SETS.split()])
_LABEL_SET_CUMULATIVE = np.cumsum(_LABEL_SET_COUNTS) / _LABEL_SET_COUNTS.sum()
_DROPPED = tuple(name for name, parent in CLC_43_TO_19.items() if parent is None)
_SPECKLE_LOOKS = 4.4  # Equivalent number of looks of Sentinel-1 GRD high resolution.


def draw_labels(rng: np.random.Generator) -> tuple[str, ...]:
    """Returns labels of the 43-class nomenclature, in its order; the benchmark keeps at least one of them."""
    letters = _LABEL_SET_LETTERS[np.searchsorted(_LABEL_SET_CUMULATIVE, rng.random(), side="right")]
    labels = set()
    for letter in letters:
        shares = CHILD_SHARES[ord(letter) - ord("a")]
        # Some patches have two classes that become one of the 19, and a class that the benchmark drops.
        count = min(1 + (rng.random() < 0.1), len(shares))
        labels.update(rng.choice(list(shares), count, replace=False, p=list(shares.values())).tolist())
    if rng.random() < 0.03:
        labels.add(_DROPPED[rng.integers(len(_DROPPED))])
    return tuple(name for name in SIGNATURES if name in labels)


def draw_dropped_labels(rng: np.random.Generator) -> tuple[str, ...]:
    """Returns one or two of the 43 classes that the benchmark drops."""
    chosen = rng.choice(_DROPPED, rng.integers(1, 3), replace=False)
    return tuple(name for name in _DROPPED if name in chosen)


def render_patch(
    labels: Sequence[str], season: str, rng: np.random.Generator, *, overlay: str | None = None
) -> dict[str, np.ndarray]:
    """Returns every band as the archive stores it: native size, uint16 DN 1 ... 16000 or float32 dB.

    Args:
        labels: Names of the 43 classes; each covers a share of the patch.
        season: A key of `DORMANCY_OF_SEASON`.
        rng: Decides the rest of the patch.
        overlay: "snow" or "cloud" over most of it.
    """
    regions = draw_regions(len(labels), rng)
    # Foreground share [120, 120] of each pixel, and its two surfaces by index.
    texture = np.empty((_SIDE_PX, _SIDE_PX), np.float32)
    back, front = [], []
    for index, label in enumerate(labels):
        row = SIGNATURES[label]
        inside = regions == index
        texture[inside] = draw_texture(row.texture, row.grain_m / 10, rng)[inside]
        back.append(_SURFACE_NAMES.index(row.background))
        front.append(_SURFACE_NAMES.index(row.foreground))
    spectra = _vary_spectra(season, rng)
    base = spectra[:, back]
    power = base[:, regions] + (spectra[:, front] - base)[:, regions] * texture
    optical = _light_scene(power[:12], overlay, rng)
    bands = {name: _sample_optical(optical[index], BANDS[name], rng) for index, name in enumerate(S2_ALL)}
    offset_db = rng.normal(0.0, 2.0)
    for name, band_power in zip(S1, power[12:]):
        speckle = rng.standard_gamma(_SPECKLE_LOOKS, band_power.shape, np.float32) / _SPECKLE_LOOKS
        decibel = 10.0 * np.log10(np.maximum(band_power * speckle, 1e-4)) + offset_db
        bands[name] = np.clip(decibel, -38.0, 20.0).astype(np.float32)
    return bands


def draw_texture(kind: str, grain_px: float, rng: np.random.Generator) -> np.ndarray:
    """Returns a texture [120, 120], 0 for the background, 1 for the foreground.

    Raises:
        ValueError: `kind` is not one of those that `Signature` names.
    """
    if kind in ("crowns", "blotches", "ripples"):
        noise = _draw_noise(grain_px, rng)
        if kind == "ripples":
            return 0.5 + 0.5 * np.sin(2 * np.pi * _rotated_grid(grain_px, rng)[0] + 3 * noise)
        return np.clip(0.5 + (1.0 if kind == "crowns" else 4.0) * noise, 0.0, 1.0)
    u, v = _rotated_grid(grain_px, rng)
    if kind == "rows":
        return 0.5 + 0.5 * np.sin(2 * np.pi * u)
    if kind == "trees":
        return np.clip(6.0 * (np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v)) - 3.0, 0.0, 1.0)
    if kind in ("stripes", "fields", "streets"):
        return _draw_cells(kind, u, v, rng)
    raise ValueError(f"Unknown texture {kind!r}; allowed are those that Signature names.")


def _draw_cells(kind: str, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chance = rng.random((64, 64), np.float32)
    column, row = np.floor(u).astype(int) % 64, np.floor(v).astype(int) % 64
    if kind == "stripes":
        return np.where(column % 2 == 0, 0.3, 1.0) * (0.5 + 0.5 * chance[0, column])
    cell = chance[row, column]
    if kind == "fields":
        return np.where(cell < 0.5, 0.4 * cell, 0.6 + 0.4 * cell)
    street = (u % 1.0 < 0.3) | (v % 1.0 < 0.3)
    return np.where(street, 0.0, 0.6 + 0.4 * cell)


def _rotated_grid(grain_px: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angle = rng.uniform(0.0, np.pi)
    y, x = np.ogrid[:_SIDE_PX, :_SIDE_PX]
    cosine, sine = np.cos(angle) / grain_px, np.sin(angle) / grain_px
    shift_u, shift_v = rng.random(2)
    return (x * cosine + y * sine + shift_u).astype(np.float32), (y * cosine - x * sine + shift_v).astype(np.float32)


def _draw_noise(grain_px: float, rng: np.random.Generator) -> np.ndarray:
    """Returns a smooth random field [120, 120] around 0, its standard deviation about 0.6."""
    nodes = int(_SIDE_PX / grain_px) + 3
    weights = []
    for shift in rng.random(2):
        position = np.arange(_SIDE_PX) / grain_px + shift
        left = position.astype(int)
        ease = position - left
        ease = ease * ease * (3.0 - 2.0 * ease)
        matrix = np.zeros((_SIDE_PX, nodes), np.float32)
        matrix[np.arange(_SIDE_PX), left] = 1.0 - ease
        matrix[np.arange(_SIDE_PX), left + 1] = ease
        weights.append(matrix)
    return weights[0] @ rng.standard_normal((nodes, nodes), np.float32) @ weights[1].T


def draw_regions(count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the index of a label [120, 120] for each pixel; each of the `count` labels covers a minimum share.

    `render_patch` draws this first: the same generator, in the same state, gives the regions of the patch.
    """
    floor = min(0.08, 0.5 / count)
    shares = floor + (1.0 - count * floor) * rng.dirichlet([2.0] * count)
    regions = np.zeros(_SIDE_PX * _SIDE_PX, np.intp)
    free = np.arange(regions.size)
    for index in range(1, count):
        size = round(shares[index] * regions.size)
        order = np.argpartition(_draw_noise(45.0, rng).ravel()[free], size)
        regions[free[order[:size]]] = index
        free = free[order[size:]]
    return regions.reshape(_SIDE_PX, _SIDE_PX)


def _vary_spectra(season: str, rng: np.random.Generator) -> np.ndarray:
    """Returns the surfaces [14, surfaces] of this patch (DN, linear power), varied by season and random differences."""
    dormancy = DORMANCY_OF_SEASON[season] + rng.normal(0.0, 0.25)
    spectra = np.where(_GROWS, _SPECTRA * (1.0 + dormancy * _DORMANCY)[:, None], _SPECTRA)
    place = rng.normal(0.0, 0.05, (1, _GROWS.size)) + rng.normal(0.0, 0.02, (len(COLUMNS), _GROWS.size))
    spectra *= np.exp(place)
    spectra[:12, _MIRRORS] += 100.0 * GLINT * rng.random()
    return spectra.astype(np.float32)


def _light_scene(optical: np.ndarray, overlay: str | None, rng: np.random.Generator) -> np.ndarray:
    """Returns DN [12, 120, 120] with random illumination, haze and stray light, and snow or cloud on top."""
    gain = np.exp(rng.normal(-0.15, 0.3) + rng.normal(0.0, 0.02, 12)).astype(np.float32)
    stray = _HAZE * rng.uniform(0.0, 1.2) + rng.uniform(0.0, 200.0)
    if overlay is None:
        return optical * gain[:, None, None] + stray[:, None, None]
    cover = np.clip(0.85 + 0.5 * _draw_noise(30.0, rng), 0.0, 1.0)
    if overlay == "cloud":
        shadow = 1.0 - 0.6 * np.roll(cover > 0.9, (12, 12), (0, 1))
        optical = optical * shadow
    lit = optical * gain[:, None, None] + stray[:, None, None]
    return lit + (_OVERLAYS[overlay][:, None, None] - lit) * cover


def _sample_optical(scene: np.ndarray, band: Band, rng: np.random.Generator) -> np.ndarray:
    """Returns one band as its detector measures it: averaged over its pixels, with noise, in whole numbers."""
    size, factor = band.size_px, band.resolution_m // 10
    pixels = scene.reshape(size, factor, size, factor).mean((1, 3)) if factor > 1 else scene
    noise = rng.standard_normal(pixels.shape, np.float32)
    return np.clip(np.rint(pixels * (1.0 + 0.03 * noise) + 12.0 * noise), 1, 16000).astype(np.uint16)
