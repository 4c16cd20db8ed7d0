"""Write `tunes.abc`: short dance tunes in ABC notation, composed by a grammar.

    tune    two or three parts, each repeated; a later part lies higher, and often ends as the first one does
    part    eight bars: four that lead to a half cadence, and four that lead to a cadence on the tonic
    bar     a motif over a chord; another chord transposes it within the scale, and a varied one has another last beat
    motif   the rhythm of a dance, chord notes on the beats and steps between them

Run it as `python corpora/make_tunes.py`; its output is the same each time. Every bar has the length that its metre demands, and
where a part begins with a pickup, its last bar is shorter by as much.
"""

import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
NUM_TUNES = 480
SEED = 31


class Dance(NamedTuple):
    """A kind of dance; lengths are in eighth notes.

    Args:
        name, metre: as the fields R and M have them.
        bar, beat: length of a bar, and of the notes that are written together.
        rhythms: of the beats of a motif.
        cadences: rhythms of a bar that ends on a long note.
        pickups: lengths of what may stand before the first bar; 0 for none.
    """

    name: str
    metre: str
    bar: int
    beat: int
    rhythms: Sequence[str]
    cadences: Sequence[str]
    pickups: Sequence[int]


DANCES = (
    Dance("reel", "4/4", 8, 4, ("1111", "1111", "211", "112", "1111", "22"), ("1111 4", "211 4", "22 4"), (0, 0, 1, 2)),
    Dance("jig", "6/8", 6, 3, ("111", "111", "21", "111", "3"), ("111 3", "21 3", "12 3"), (0, 0, 1)),
    Dance("waltz", "3/4", 6, 2, ("2", "11", "2", "11"), ("2 4", "11 4", "11 4"), (0, 0, 1, 2)),
    Dance("polka", "2/4", 4, 2, ("11", "1hh", "hh1", "2", "11"), ("11 2", "hh1 2", "1hh 2"), (0, 0, 1)),
)
LENGTHS = {"h": Fraction(1, 2), **{digit: Fraction(digit) for digit in "12346"}}


class Mode(NamedTuple):
    """A mode: what follows the tonic in the field K, the tonics that lie well for a fiddle, and chords of its phrases.

    A chord is the degree of its root, the tonic being 0.
    """

    suffix: str
    tonics: str
    first_halves: Sequence[Sequence[int]]
    second_halves: Sequence[Sequence[int]]


MODES = (
    Mode(
        "",
        "GDACF",
        ((0, 0, 3, 4), (0, 3, 0, 4), (0, 5, 3, 4), (0, 4, 0, 4)),
        ((0, 3, 4, 0), (0, 0, 4, 0), (5, 3, 4, 0)),
    ),
    Mode("dor", "EAD", ((0, 0, 6, 6), (0, 6, 0, 6), (0, 3, 0, 6)), ((0, 6, 6, 0), (0, 3, 6, 0), (2, 6, 6, 0))),
    Mode("mix", "ADG", ((0, 0, 6, 6), (0, 6, 0, 4), (0, 3, 6, 6)), ((0, 6, 6, 0), (0, 3, 6, 0), (0, 3, 4, 0))),
    Mode("m", "AEBD", ((0, 0, 6, 4), (0, 5, 6, 4), (0, 3, 0, 4)), ((0, 6, 4, 0), (5, 6, 4, 0), (0, 3, 4, 0))),
)
FORMS = ("ab a'H abcF", "aa bH aacF", "aba'H aba'F", "aabH ccbF", "abaH cb'aF", "aaaH a'baF")
"""Eight bars of a part: motifs, varied ones with ', the half cadence H and the cadence F."""
LETTERS = "CDEFGAB"
LOWEST, HIGHEST = -1, 14
"""Steps from the C in the middle, B, to c': where the notes of chords are sought."""
LOWEST_WRITTEN = -3
"""G, the lowest string of a fiddle."""
LEADING_TONES = {"A": "^G", "E": "^D", "B": "^A", "D": "^C"}
"""The leading tone of a minor key, which is not in its scale."""

ADJECTIVES = (
    "Late", "Wet", "Little", "Old", "Patient", "Sixth", "Borrowed", "Quiet", "Leaky", "Winter", "Crooked", "Honest", "Cold",
    "Pink", "Sleepy", "Lost", "Second", "Merry", "Barefoot", "Slow",
)  # fmt: skip
THINGS = (
    "Heron", "Ferry", "Wren", "Ledger", "Thimble", "Kettle", "Petticoat", "Frog", "Fox", "Donkey", "Magistrate", "Lantern",
    "Oar", "Swallow", "Bonnet", "Keel", "Boot", "Gooseherd", "Clockmaker", "Copper", "Otter", "Supper", "Bell", "Mist",
)  # fmt: skip
PEOPLE = (
    "Old Marrow", "Orla Larkin", "Ursel Osk", "Quilla Linnow", "Tansy Corrow", "Perrin Sallow", "Saint Ebb", "Dunlin Whist",
    "Betony Rook", "Hob Fallow", "The Miller", "Widow Sedge",
)  # fmt: skip
PLACES = (
    "the Ebb", "Low Tansy", "Tamsel Lock", "Mizzle Weir", "Fallowhythe", "the Third Post", "Osk End", "Apple Island",
    "Bransack", "Eel Stairs", "High Sallow", "Dawdle",
)  # fmt: skip


class Note(NamedTuple):
    """A note: steps from the C in the middle, and its length in eighth notes."""

    step: int
    length: Fraction
    is_leading: bool = False


Bar = Sequence[Note]


class Key(NamedTuple):
    """A tonic, in steps from the C in the middle, and a mode."""

    tonic: int
    mode: Mode

    @property
    def name(self) -> str:
        """As the field K has it."""
        return LETTERS[self.tonic % 7] + self.mode.suffix

    def chord(self, root: int) -> list[int]:
        """Return the notes of a chord in all octaves."""
        return [step for step in range(LOWEST, HIGHEST + 1) if (step - self.tonic - root) % 7 in (0, 2, 4)]


def nearest(steps: Sequence[int], to: int) -> int:
    """Return the step that is nearest, the lower one of two."""
    return min(steps, key=lambda step: (abs(step - to), step))


def lengths_of(rhythm: str) -> list[Fraction]:
    """Return the lengths of the notes of a rhythm."""
    return [LENGTHS[letter] for letter in rhythm.replace(" ", "")]


class Composer:
    """Composes one tune.

    Args:
        random_: what draws.
        dance: its metre and rhythms.
        key: its scale.
    """

    def __init__(self, random_: random.Random, dance: Dance, key: Key) -> None:
        self.random, self.dance, self.key = random_, dance, key
        self.pickup = random_.choice(dance.pickups)

    def motif(self, root: int, center: int) -> list[Note]:
        """Return a bar over a chord: a note of it on each beat, steps and small leaps between."""
        beats = [self.random.choice(self.dance.rhythms) for _ in range(self.dance.bar // self.dance.beat)]
        chord = self.key.chord(root)
        step = nearest(chord, center + self.random.choice((-2, 0, 0, 2)))
        notes: list[Note] = []
        for beat in beats:
            direction = self.random.choice((-1, 1))
            for number, length in enumerate(lengths_of(beat)):
                if number:
                    step += self.random.choice((direction, direction, direction, -direction, 2 * direction))
                elif notes:
                    step = nearest([each for each in chord if each != step], step + self.random.choice((-2, -1, 1, 2)))
                if abs(step - center) > 5:
                    step = nearest(chord, center)
                notes.append(Note(step, length))
        return notes

    def varied(self, bar: Bar, root: int, center: int) -> list[Note]:
        """Return a bar with another last beat."""
        other, kept = self.motif(root, center), Fraction(self.dance.bar - self.dance.beat)
        return [*_between(bar, Fraction(0), kept), *_between(other, kept, Fraction(self.dance.bar))]

    def cadence(self, root: int, center: int, *, is_final: bool) -> list[Note]:
        """Return a bar that moves by steps to a long note: the tonic, or a note of the chord of a half cadence."""
        lengths = lengths_of(self.random.choice(self.dance.cadences))
        goals = [step for step in self.key.chord(root) if not is_final or (step - self.key.tonic) % 7 == 0]
        goal = nearest(goals, center - 2 * is_final)
        side = self.random.choice((-1, 1, 1))
        steps = [goal + side * back for back in range(len(lengths) - 1, -1, -1)]
        if len(steps) > 3:  # not a bare scale: the first notes turn back
            steps[0] = steps[2]
        notes = [Note(step, length) for step, length in zip(steps, lengths, strict=True)]
        if is_final and self.key.mode.suffix == "m" and side == -1:
            notes[-2] = notes[-2]._replace(is_leading=True)
        return notes

    def part(self, center: int, ending: Sequence[Bar] = ()) -> list[Bar]:
        """Return the eight bars of a part.

        Args:
            center: the step around which it moves.
            ending: its last bars, if they are those of another part.
        """
        mode = self.key.mode
        roots = [*self.random.choice(mode.first_halves), *self.random.choice(mode.second_halves)]
        form = self.random.choice(FORMS).replace(" ", "").replace("a'", "A").replace("b'", "B")
        motifs: dict[str, tuple[int, list[Note]]] = {}
        bars: list[Bar] = []
        for letter, root in zip(form, roots, strict=True):
            if letter in "HF":
                bars.append(self.cadence(root, center, is_final=letter == "F"))
                continue
            first_root, bar = motifs.setdefault(letter.lower(), (root, self.motif(root, center)))
            by = nearest([root - first_root, root - first_root - 7, root - first_root + 7], 0)
            bar = [note._replace(step=note.step + by) for note in bar]
            bars.append(self.varied(bar, root, center) if letter.isupper() else bar)
        return [*bars[: 8 - len(ending)], *ending]

    def tune(self) -> list[str]:
        """Return the lines of the music."""
        low = nearest([step for step in range(2, 9) if (step - self.key.tonic) % 7 in (0, 2, 4)], self.key.tonic + 2)
        first = self.part(low)
        parts = [first, self.part(low + self.random.choice((2, 3, 4)), first[6:] if self.random.random() < 0.6 else ())]
        if self.random.random() < 0.2:
            parts.append(self.part(low + self.random.choice((-1, 1, 4)), first[7:]))
        return [line for part in parts for line in self._written(part)]

    def _written(self, part: Sequence[Bar]) -> list[str]:
        """Return the lines of a part, with its repeat, and perhaps with a first and a second ending."""
        bars = [_within(bar) for bar in part]
        last = self._shortened(bars[7])
        begins = "|:" + (self._pickup(bars[0]) + "|" if self.pickup else "")
        lines = [begins + "|".join(map(self._bar, bars[:4])) + "|", "|".join(map(self._bar, bars[4:7])) + "|"]
        if self.random.random() < 0.35:
            back = self._shortened(_within(self.varied(bars[7], 4, bars[0][0].step)))
            lines[1] += f"1 {self._bar(back)}:|2 {self._bar(last)}|]"
        else:
            lines[1] += self._bar(last) + ":|"
        return lines

    def _shortened(self, bar: Bar) -> list[Note]:
        """Return a last bar without the length of the pickup, with which it makes a whole bar where the part is repeated."""
        return _between(bar, Fraction(0), Fraction(self.dance.bar - self.pickup))

    def _pickup(self, bar: Bar) -> str:
        """Return notes that lead to the first one of a bar."""
        start = bar[0].step
        side = -1 if start > 4 else 1
        steps = [start + side] if self.pickup == 1 else [start + 2 * side, start + side]
        return "".join(_written(Note(step, Fraction(1))) for step in steps)

    def _bar(self, bar: Bar) -> str:
        """Return a bar in ABC notation, the notes of each beat together."""
        text, position = "", Fraction(0)
        for note in bar:
            if text and position % self.dance.beat == 0:
                text += " "
            text += self._note(note)
            position += note.length
        return text

    def _note(self, note: Note) -> str:
        if not note.is_leading:
            return _written(note)
        name = LEADING_TONES[LETTERS[self.key.tonic % 7]]
        return name[0] + _written(note)


def _between(bar: Bar, start: Fraction, end: Fraction) -> list[Note]:
    """Return what sounds in a section of a bar; a note that begins before its end is cut there."""
    notes, position = [], Fraction(0)
    for note in bar:
        begins, ends = max(position, start), min(position + note.length, end)
        if begins < ends:
            notes.append(note._replace(length=ends - begins))
        position += note.length
    return notes


def _within(bar: Bar) -> list[Note]:
    """Return a bar in the range of a fiddle in first position, moved by an octave where it is outside."""
    by = 7 if min(note.step for note in bar) < LOWEST_WRITTEN else -7 if max(note.step for note in bar) > HIGHEST else 0
    return [note._replace(step=note.step + by) for note in bar]


def _written(note: Note) -> str:
    octave, letter = divmod(note.step, 7)
    name = LETTERS[letter] if octave <= 0 else LETTERS[letter].lower()
    marks = "," * -octave if octave < 0 else "'" * (octave - 1)
    length = "/" if note.length == Fraction(1, 2) else "3/2" if note.length == Fraction(3, 2) else str(note.length)
    return name + marks + ("" if note.length == 1 else length)


def title(random_: random.Random, dance: str) -> str:
    """Return a title."""
    adjective, thing, other = random_.choice(ADJECTIVES), random_.choice(THINGS), random_.choice(THINGS)
    person, place = random_.choice(PEOPLE), random_.choice(PLACES)
    titles = [
        f"The {adjective} {thing}",
        f"The {thing} of {place.removeprefix('the ')}" if not place.startswith("the ") else f"The {thing} on {place}",
        f"{person}'s {dance.capitalize()}",
        f"{person}'s {adjective} {thing}",
        f"The {thing} and the {other}",
        f"The {adjective} {dance.capitalize()}",
        f"Over {place} with the {thing}",
    ]
    return random_.choice(titles)


def compose(number: int, random_: random.Random, taken: set[str]) -> str:
    """Return a tune with its header; its title is added to those that are taken."""
    dance, mode = random_.choice(DANCES), random_.choice(MODES)
    letter = random_.choice(mode.tonics)
    key = Key(LETTERS.index(letter), mode)
    name = title(random_, dance.name)
    while name in taken:
        name = title(random_, dance.name)
    taken.add(name)
    header = [f"X:{number}", f"T:{name}", f"R:{dance.name}", f"M:{dance.metre}", "L:1/8", f"K:{key.name}"]
    return "\n".join([*header, *Composer(random_, dance, key).tune()]) + "\n"


def main() -> None:
    """Write the file."""
    random_ = random.Random(SEED)
    taken: set[str] = set()
    tunes = [compose(number, random_, taken) for number in range(1, NUM_TUNES + 1)]
    (HERE / "tunes.abc").write_text("\n".join(tunes), encoding="utf-8")


if __name__ == "__main__":
    main()
