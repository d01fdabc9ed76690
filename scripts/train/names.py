"""Names, numbers and paths. A name whose hash says so is held out: it is never trained on, only evaluated with."""
import zlib

SYLLABLES = [c + v for c in "b d f g h j k l m n p r s t v w z".split() for v in "a e i o u".split()]
WORDS = """apple report budget river garden window market planet silver copper winter summer doctor engine ticket
bottle camera forest island jacket kitten ladder magnet needle orange pencil rabbit saddle tunnel velvet walnut yellow
anchor basket candle dragon empire falcon guitar hammer insect jungle kettle lemon mirror napkin office pepper quartz
rocket salmon temple umbrella violin wagon zebra alpha beta gamma delta invoice salary rent total score price weight
height count limit offset radius volume speed depth battery sensor motor valve pump tank order client vendor project
meeting agenda draft summary backup config index archive module sample plan team house street city bridge tower castle
harbor beach desert valley canyon meadow pond stream ocean coral shell pearl amber ruby topaz onyx jade ivory bread
butter cheese sugar coffee tea milk egg flour rice water fuel paper stamp parcel letter lamp chair table shelf door
floor wall roof fence gate north south east west monday friday march april june spring autumn cost tax fee bonus debt
loan stock fund bill sales income profit margin target level rate share ratio age size length width mass power energy
heat cold wind rain snow storm cloud sun moon star comet rover probe robot drone cable router server cluster node disk
memory cache queue task job batch shift crew pilot guard nurse chef baker farmer miner sailor smith mason anna bob
clara david emma frank greta hugo ida jonas karl lena max nora otto paula ralf sara tom ursula victor wanda""".split()
HELD_WORDS = {w for w in WORDS if zlib.crc32(w.encode()) % 6 == 0}
DIRS = "notes data docs logs tmp out work src reports inbox home files lists plans".split()
EXTENSIONS = "txt md csv log".split()
pieces = []  # letter strings of the tokenizer, filled in by data.py: every token must occur as something to copy


def is_held(name):
    return name in HELD_WORDS if name in WORDS else zlib.crc32(name.encode()) % 6 == 0


class Names:
    """Draws names that differ from all it drew before."""

    def __init__(self, rng, held):
        self.rng, self.held, self.used = rng, held, set()

    def draw(self):
        r = self.rng
        while True:
            q = r.random()
            if not self.held and q < 0.2 and pieces:
                name = "".join(r.choice(pieces) for _ in range(r.choice((1, 2, 2, 3))))
            elif not self.held and q < 0.28:
                name = "".join(chr(97 + r.randrange(26)) for _ in range(r.randint(2, 6)))
            elif q < 0.62:
                name = r.choice(WORDS)
            else:
                name = "".join(r.choice(SYLLABLES) for _ in range(r.choice((2, 2, 3))))
            q = r.random()
            if q < 0.05:
                name += "_" + (r.choice(WORDS) if r.random() < 0.6 else str(r.randint(1, 99)))
            elif q < 0.08:
                name += r.choice(("-", "")) + str(r.randint(1, 99))
            elif q < 0.10:
                name = name.capitalize()
            if 2 <= len(name) <= 18 and name not in self.used and is_held(name.lower()) == self.held:
                self.used.add(name)
                return name

    def path(self, name=None, folder=None, ext=None):
        r = self.rng
        return f"{folder or r.choice(DIRS)}/{name or self.draw()}.{ext or r.choice(EXTENSIONS)}"


def number(rng):
    digits = rng.choice((1, 2, 2, 3, 3, 4, 5))
    return rng.randint(10 ** (digits - 1) if digits > 1 else 2, 10 ** digits - 1)
