"""Near-duplicate sessions of a corpus: each session -> 4 keys; of the sessions that share a key, the first stays.

A duplicate repeats the last turn of the context and the response, with small edits at most: other case, punctuation,
digits, emoji, a word here and there. Both must be repeated: "Thank you!" after other turns stays, and so do different
replies to one turn. A turn of 8 words or more is compared by MinHash (Broder 1997) over its word triples, digits
left out, a shorter one as a whole; a session whose last two turns have fewer than 8 words together, in all its turns.

    words replaced in turns of 8 to 20     0%     5%    10%    20%    30%    60%
    in the response: taken for the same  100%    79%    57%    28%    13%   0.5%
    in both turns: taken for the same    100%    57%    28%     6%     1%     0%

Unrelated turns agree in a band once in 20 million pairs: of 10,000 replies to one turn, one or two in a thousand go.
What is dropped does not depend on how a corpus is cut into parts: all entries of a key meet in one bucket, and each
bucket is decided alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dialogpt.data.wordhash import Hashes, grams, letters, letters_and_digits, mix, text_hashes, whole_hashes
from dialogpt.session import Session

BANDS = 4
ROWS = 3  # least hashes of a turn in each band; all must agree, for the context's last turn and for the response
FEW_WORDS = 8

_SALTS = np.arange(1, BANDS + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
_MULTIPLIERS = mix(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64)) | np.uint64(1)


def band_keys_of(sessions: Sequence[Session]) -> Hashes:
    """The keys of each session, (S, BANDS): near-duplicates share one. Fast with hundreds of sessions a call."""
    contexts, short_contexts = _turn_keys([_text(session, -2) for session in sessions])
    responses, short_responses = _turn_keys([_text(session, -1) for session in sessions])
    keys = contexts * np.uint64(0x9FB21C651E98DF25) + responses
    short = np.flatnonzero(short_contexts + short_responses < FEW_WORDS).tolist()
    turns = [turn.text for index in short for turn in sessions[index].turns]
    ends = np.cumsum([len(sessions[index].turns) for index in short], dtype=np.int64)
    keys[short] = whole_hashes(_exact(turns)[0], ends)[:, None]
    return mix(keys + _SALTS)


def order_of(ids: Sequence[str]) -> Hashes:
    """Each session's place in the order that decides which duplicate stays, (S,): it depends on the id alone."""
    return text_hashes(ids)


def drop_in_bucket(keys: Hashes, sessions: NDArray[np.int64], order: Hashes) -> NDArray[np.int64]:
    """The numbers of the sessions to drop, ascending: those that share a key with one that comes before them.

    An entry is a key, the number of its session and that session's place in the order, (E,) each. Of sessions with one
    place, which only equal ids have, the lowest number is the first.
    """
    by_key = np.lexsort((sessions, order, keys))
    keys, sessions = keys[by_key], sessions[by_key]
    return np.unique(sessions[1:][keys[1:] == keys[:-1]])


def later_duplicates(keys: Hashes, order: Hashes) -> NDArray[np.bool_]:
    """Which sessions go, (S,), given the keys (S, BANDS) and the order (S,) of all: everything in one bucket."""
    sessions = np.repeat(np.arange(len(keys)), keys.shape[1])
    dropped = np.zeros(len(keys), np.bool_)
    dropped[drop_in_bucket(keys.ravel(), sessions, order[sessions])] = True
    return dropped


def _text(session: Session, place: int) -> str:
    return session.turns[place].text if len(session.turns) >= -place else ""


def _turn_keys(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """Keys of the turns for each band, (T, BANDS); and how many words a turn has: FEW_WORDS stands for any more."""
    triples = grams(texts, 3, letters())
    long = triples.counts >= FEW_WORDS - 2
    keys = np.zeros((len(texts), BANDS), np.uint64)
    words = np.full(len(texts), FEW_WORDS)
    if long.any():
        hashes = triples.hashes[np.repeat(long, triples.counts)]
        starts = np.cumsum(triples.counts[long]) - triples.counts[long]
        for band in range(BANDS):
            for multiplier in _MULTIPLIERS[band * ROWS : (band + 1) * ROWS]:
                keys[long, band] = mix(keys[long, band] + np.minimum.reduceat(hashes * multiplier, starts))
    short = np.flatnonzero(~long).tolist()
    exact, words[short] = _exact([texts[index] for index in short])
    keys[short] = exact[:, None]
    return keys, words


def _exact(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """A hash of each text's words in their order, or of the text as it stands when it has none; its number of words."""
    words = grams(texts, 1, letters_and_digits())
    return np.where(words.counts > 0, whole_hashes(words.hashes, words.ends), text_hashes(texts)), words.counts
