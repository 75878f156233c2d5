"""Texts for synthetic speakers: sentences of the GRID corpus' grammar, everyday English, and numbers for other
languages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training import grid

#: Words of each place in a GRID sentence (Cooke et al. 2006).
GRID_WORDS = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
#: Letters that a synthesiser would not read as British speakers name them.
_SPELLED = {"a": "eigh", "z": "zed"}


def text_of_grid(words: Sequence[str]) -> str:
    """What a synthesiser must be given to say these words of a GRID sentence; the fourth is a letter."""
    return " ".join(_SPELLED.get(word, word) for word in words)


def sentence_of(align: str | Path) -> str:
    """What a synthesiser must be given to say what a GRID clip says, from the clip's `.align` file."""
    return text_of_grid([word for _, _, word in grid.words(align) if word not in ("sil", "sp")])


_CODES = tuple({word[0]: word for word in words} for words in GRID_WORDS[:3])


def sentence_of_name(clip: str) -> str:
    """The same from the name of a clip, "bbaf2n" = bin blue at f two now."""
    stem = Path(clip).stem
    digit = GRID_WORDS[4][0 if stem[4] == "z" else int(stem[4])]
    last = {word[0]: word for word in GRID_WORDS[5]}[stem[5]]
    first = [codes[letter] for codes, letter in zip(_CODES, stem[:3], strict=True)]
    return text_of_grid([*first, stem[3], digit, last])


def grid_sentence(rng: np.random.Generator) -> str:
    """A random sentence of the GRID grammar, as a synthesiser must be given it."""
    return text_of_grid([words[rng.integers(len(words))] for words in GRID_WORDS])


#: A thousand everyday English words in which every phone occurs before and after many others.
_ENGLISH = """
about above across after again against air all almost along already also although always among and angry animal
another answer any apple arm around arrive art ask asleep at autumn away baby back bad bag ball banana bank bath be
beach beautiful because bed been before began behind believe bell below beside best better between big bird birthday
bite black blanket blue board boat body boil book boot border both bottle bottom bowl box boy branch bread break
breakfast breath brick bridge bright bring brother brown brush bubble build burn bus bush busy but butter button buy
by cage cake call came camera camp can candle capital car careful carpet carry castle cat catch cause centre chain
chair chalk change cheap check cheese cherry chicken child choice choose church circle city class clean clear climb
clock close cloth cloud club coach coast coat coffee coin cold colour come common cook cool copper copy corn corner
cost could count country couple course cousin cow crash cream cross crowd cry cup curtain cushion dance danger dark
daughter day dead dear decide decision deep depend desk destroy diamond dinner dirty dish doctor dog dollar done door
double doubt down dozen draw dream dress drink drive drop dry dust each early earth east easy edge eight either elbow
eleven empty engine enjoy enough enter equal escape even evening ever every exact example excuse expect explain eye
face factory fair fall family famous far farm fast father favour fear feather feel fence few field fifth fight figure
fill film find finger finish fire first fish five fix flag flame flat floor flour flower fly follow food foot football
for forest forget fork form forty forward found four fox free fresh friend frog from front fruit full fun future game
garage garden gate gather gentle giant gift girl give glad glass glove goat gold good goose grass great green grey
group grow guess guest guitar hair half hall hammer hand happen happy hard harvest hat have head hear heart heavy help
her here hide high hill him history hold hole holiday home honest hook hope horse hospital hot hour house how huge
human hundred hungry hurry ice idea if imagine important in inch insect inside into iron island jacket jam job join
joke journey joy judge juice jump june jungle just keep kettle key kick kind king kiss kitchen knee knife knock know
ladder lake lamp land language large last late laugh law lay lazy lead leaf learn leather leave left leg lemon length
less lesson letter level library lie life lift light like line lion lip listen little live long look lose loud love
low luck lunch machine magic make man many map march mark market marry match matter may maybe me meal mean measure
meat medicine meet melon member memory metal method middle might mile milk million mind minute mirror miss mix model
modern moment money monkey month moon more morning most mother motor mountain mouse mouth move much mud museum music
must my nail name narrow nation nature near neck need needle neighbour nephew nest never new news next nice night nine
no nobody noise none noon north nose not nothing notice now number nurse oak ocean of off offer office often oil old
on once one onion only open or orange order other ought our out oven over owl own oyster page pain paint pair palace
pan paper parcel parent park part party pass past path pay pea peace pen pencil people pepper perfect perhaps person
phone photo piano picture piece pig pillow pilot pink pipe place plain plan plant plate play please pleasure plough
plum pocket point poison police polite pool poor pop porridge possible post pot potato pound pour powder power
practice prepare present press pretty price prison prize problem promise proud public pull pump pupil puppy purple
purse push put puzzle quarter queen question quick quiet quite rabbit race radio rain raise reach read ready real
reason red remember repair reply rest rice rich ride right ring river road rock roof room root rope rose rough round
royal rubber rule run rush sad safe sail salt same sand sauce save say school science scissors sea season seat second
secret see seem seize sell send sentence serve seven several shadow shake shape share sharp she sheep sheet shelf
shine ship shirt shoe shop short should shoulder shout show shut side sign silver simple since sing sister sit six
size skin sky sleep slow small smell smile smoke smooth snow so soap soft soldier some son song soon sorry soup south
space speak special speed spell spend spoon spring square stamp stand star start station stay steam step stone stop
storm story strange street strong study such sudden sugar suit summer sun sure surprise sweet swim table tail take
talk tall taste taxi tea teach team tear teeth television tell ten tent test than thank that the their them then there
these they thick thief thin thing think third thirsty this those though thought thousand thread three through throw
thumb thunder ticket tie tiger time tiny tired to today together tomato tomorrow tongue tonight too tooth top touch
tough towel tower town toy traffic train travel treasure tree trip trouble true trust truth try tube turn twelve
twenty twice two ugly umbrella uncle under until up upon use usual valley van vase vegetable very video view village
violin vision visit voice vote voyage wait wake walk wall want war warm was wash watch water wave way we weak wear
weather web wedding week weigh welcome well west wet whale what wheat wheel when where which while whisper white who
whole why wide wife wild will win wind window wine wing winter wish with without wolf woman wonder wood wool word work
world worm worry worth would write wrong yacht yard year yellow yes yesterday yet yoghurt you young your youth zebra
zero zoo
"""
ENGLISH_WORDS = tuple(_ENGLISH.split())
#: Ways of saying words together, so that the voice rises, falls and pauses.
_ENDS = (".", ".", ".", "?", "!", "")


def english_phrase(rng: np.random.Generator, least: int = 3, most: int = 9) -> str:
    """A few everyday words in no order, with a comma here and there."""
    words = [ENGLISH_WORDS[i] for i in rng.integers(len(ENGLISH_WORDS), size=rng.integers(least, most + 1))]
    if len(words) > 4 and rng.random() < 0.4:
        words[rng.integers(1, len(words) - 2)] += ","
    return " ".join(words) + _ENDS[rng.integers(len(_ENDS))]


def numbers(rng: np.random.Generator) -> str:
    """Numbers in digits, which espeak-ng reads in the language of its voice."""
    tops = (10, 100, 100, 1000, 1000, 10000, 1000000)
    return ", ".join(str(rng.integers(tops[rng.integers(len(tops))])) for _ in range(rng.integers(2, 5)))


def text_for(language: str, rng: np.random.Generator) -> str:
    """Something to say in this language: English phrases, GRID sentences and numbers for "en", numbers for others."""
    if language != "en":
        return numbers(rng)
    kind = rng.random()
    return english_phrase(rng) if kind < 0.7 else grid_sentence(rng) if kind < 0.9 else numbers(rng)


def texts(languages: Sequence[str], seed: int) -> list[str]:
    """A text for each language named, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [text_for(language, rng) for language in languages]
