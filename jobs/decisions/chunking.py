"""A Markdown text cut into overlapping chunks that respect its structure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from zlib import crc32

from jobs.decisions.atoms import Atom, atoms_of
from jobs.decisions.outline import Section, path_text, read_sections
from jobs.decisions.sentences import sentence_spans

# all-MiniLM-L6-v2 reads 256 word pieces: of 2,831 chunks of documentation with their headings 4 % have more, and 2 % of
# all word pieces are beyond. For 17 questions to 187 pages, the share of the answer's words that is found in the best
# 1,200 tokens: 120 tokens a chunk .65, 160 .71, 200 .80, 240 .77; 200 without an overlap .68.
MAX_TOKENS = 200
OVERLAP_TOKENS = 30
_EMPTIEST = 0.5  # cuts are chosen among those that fill at least this share of a chunk


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document, readable on its own.

    `markdown[start:end]` is the text that is new in it. `content` holds that text after an overlap with the chunk
    before; in a split code block or table also between repeated fences or below the repeated header.
    """

    ordinal: int  # from 0
    content: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    tokens: int  # of content
    content_hash: str  # SHA-256 in hex of what is embedded: equal hash, equal embedding


def chunk(
    markdown: str,
    *,
    count_tokens: Callable[[str], int],
    title: str | None = None,
    max_tokens: int = MAX_TOKENS,
    overlap_tokens: int = OVERLAP_TOKENS,
) -> tuple[Chunk, ...]:
    """The chunks of a text, in order; together they hold every character that is not blank.

    A chunk stays within one section and within max_tokens. It ends between blocks where that leaves it half full, else
    between list items, lines of code, sentences, words, in this order. Where it ends depends only on the text nearby,
    so that an edit changes the chunks around it and no others.
    """
    if not 0 <= overlap_tokens < max_tokens:
        raise ValueError("overlap_tokens must be at least 0 and less than max_tokens")
    cutter = _Cutter(markdown, count_tokens, title, max_tokens, overlap_tokens)
    chunks = (piece for section in read_sections(markdown) for piece in cutter.cut(section))
    return tuple(replace(piece, ordinal=ordinal) for ordinal, piece in enumerate(chunks))


def embedding_text(title: str | None, heading_path: Sequence[str], content: str) -> str:
    """What is embedded for a chunk: where it stands, then what it says."""
    names = [name for name in (title, *heading_path) if name]
    path = [name for place, name in enumerate(names) if place == 0 or name != names[place - 1]]
    return f"{path_text(path)}\n\n{content}" if path else content


@dataclass(frozen=True, slots=True)
class _Cutter:
    markdown: str
    count_tokens: Callable[[str], int]
    title: str | None
    max_tokens: int
    overlap_tokens: int

    def cut(self, section: Section) -> Iterator[Chunk]:
        room = self.max_tokens - self.overlap_tokens
        atoms = atoms_of(self.markdown, section, count_tokens=self.count_tokens, room=room)
        if sum(atom.tokens for atom in atoms) <= self.max_tokens:
            room = self.max_tokens
        first, overlap = 0, section.start
        while first < len(atoms):
            after = self._cut_after(atoms, first, room)
            made = self._made(section, atoms[first:after], overlap)
            if made.tokens > self.max_tokens:
                made = self._made(section, atoms[first:after], atoms[first].start)
            while made.tokens > self.max_tokens and after - first > 1:  # a whole has a token or two more than its parts
                after -= 1
                made = self._made(section, atoms[first:after], atoms[first].start)
            if made.start < made.end:
                yield made
            overlap = self._overlap_start(atoms[first:after], made.tokens)
            first = after

    def _cut_after(self, atoms: Sequence[Atom], first: int, room: int) -> int:
        """The index after the chunk's last atom: of the cuts that leave it half full or more, the weakest bond."""
        frame = None if atoms[first].opens_frame else atoms[first].frame
        budget = room - (frame.tokens if frame else 0)
        total, after, cuts = 0, first, []
        while after < len(atoms) and total + atoms[after].tokens <= budget:
            total += atoms[after].tokens
            after += 1
            if total >= _EMPTIEST * budget:
                cuts.append(after)
        if after == len(atoms):
            return after
        if not cuts:
            return max(after, first + 1)
        return min(cuts, key=lambda cut: (atoms[cut].bond, self._lot(atoms[cut])))

    def _lot(self, atom: Atom) -> int:
        """Decides between equal cuts by the text alone: after an edit, cuts soon fall where they fell before."""
        return crc32(self.markdown[atom.start : min(atom.end, atom.start + 200)].encode("utf-8", "replace"))

    def _overlap_start(self, atoms: Sequence[Atom], tokens: int) -> int:
        """Where the last sentences or whole blocks of a chunk begin that the next one repeats: at most half of it."""
        left = min(self.overlap_tokens, tokens // 2)
        start = atoms[-1].end
        for atom in reversed(atoms):
            if atom.frame is not None:
                break
            text = self.markdown[atom.start : atom.end]
            for sentence_start, sentence_end in reversed(sentence_spans(text) if atom.divisible else ((0, len(text)),)):
                left -= self.count_tokens(text[sentence_start:sentence_end])
                if left < 0:
                    return start
                start = atom.start + sentence_start
        return start

    def _made(self, section: Section, atoms: Sequence[Atom], overlap_start: int) -> Chunk:
        """The chunk of these atoms; `start == end` where they are blank."""
        text = self.markdown[atoms[0].start : atoms[-1].end]
        end = atoms[0].start + len(text.rstrip())
        blank = len(text) - len(text.lstrip())
        start = min(atoms[0].start + text.rfind("\n", 0, blank) + 1, end)  # a first line keeps its indentation
        head, tail = atoms[0], atoms[-1]
        if head.frame and not head.opens_frame:
            content = f"{head.frame.opening}\n{self.markdown[start:end]}"
        else:
            content = self.markdown[overlap_start:end].strip("\r\n")
        if tail.frame and tail.frame.closing and not tail.closes_frame:
            content = f"{content}\n{tail.frame.closing}"
        embedded = embedding_text(self.title, section.heading_path, content)
        digest = sha256(embedded.encode("utf-8", "replace")).hexdigest()
        return Chunk(0, content, section.heading_path, start, end, self.count_tokens(content), digest)
